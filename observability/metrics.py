"""Prometheus metrics made from their declarations in names.py."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from observability.names import Metric


@cache
def counter(metric: Metric) -> Counter:
    """Return the process's counter of that name; it is made at its first use."""
    return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels)


@cache
def gauge(metric: Metric) -> Gauge:
    """Return the process's gauge of that name; it is made at its first use."""
    return Gauge(metric.name, metric.help, metric.labels)


@cache
def histogram(metric: Metric) -> Histogram:
    """Return the process's histogram of that name; it is made at its first use."""
    return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets)
