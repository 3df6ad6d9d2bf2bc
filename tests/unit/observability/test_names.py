"""The metrics of requirements.md that exist so far have exactly their names, types and labels."""

import pytest

from observability import names
from observability.names import Metric

REQUIRED = {
    "http_requests_total": ("method", "endpoint", "status_code"),
    "http_request_duration_seconds": ("method", "endpoint"),
    "active_users_total": (),
    "database_connections_active": (),
    "redis_memory_usage_bytes": (),
}


@pytest.mark.parametrize("name", REQUIRED)
def test_required_metrics_are_declared_with_their_labels(name: str) -> None:
    declared = {metric.name: metric for metric in vars(names).values() if isinstance(metric, Metric)}
    assert declared[name].labels == REQUIRED[name]
    assert bool(declared[name].buckets) == name.endswith("_seconds")


def test_no_two_metrics_share_a_name() -> None:
    declared = [metric.name for metric in vars(names).values() if isinstance(metric, Metric)]
    assert len(declared) == len(set(declared))


def test_bounds_of_histograms_rise() -> None:
    for metric in (value for value in vars(names).values() if isinstance(value, Metric)):
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
