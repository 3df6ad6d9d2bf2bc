"""Prometheus metrics made from their declarations in names.py, and the page that shows them."""

from functools import cache
from typing import Self

from prometheus_client import Counter, Gauge, Histogram, start_http_server

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


class MetricsPage:
    """The Prometheus endpoint `/metrics` on loopback, served by a thread of its own."""

    def __init__(self, port: int) -> None:
        """Listen on 127.0.0.1; raises OSError when the port is taken."""
        self._server, self._thread = start_http_server(port, addr="127.0.0.1")

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
