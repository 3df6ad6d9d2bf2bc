"""Expressions in PromQL that several dashboards use. Labels: see boards.py."""

from typing import Final

from observability import names
from observability.dashboards.panels import Query
from observability.names import Metric

FAILED: Final = 'status_code=~"5.."'
REFUSED: Final = 'status_code=~"4.."'
OUR_FAULT: Final = 'code=~"UNKNOWN|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|DATA_LOSS"'
CHOSEN: Final = 'component=~"$component"'
CHOSEN_MODEL: Final = 'model=~"$model"'
EDGE: Final = 'envoy_http_conn_manager_prefix="edge"'


def rate(metric: Metric, match: str = "", by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric.name}{{{match}}}[$__rate_interval]))"


def quantile(part: float, metric: Metric, match: str = "", by: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile({part:g}, sum by ({grouped}) (rate({metric.name}_bucket{{{match}}}[$__rate_interval])))"


def quantiles(metric: Metric, match: str = "") -> tuple[Query, ...]:
    return tuple(Query(quantile(part, metric, match), f"p{part:.0%}".rstrip("%")) for part in (0.5, 0.95, 0.99))


def mean(metric: Metric, by: str) -> str:
    sums, counts = (f"sum by ({by}) (rate({metric.name}_{part}[$__rate_interval]))" for part in ("sum", "count"))
    return f"{sums} / {counts}"


FAILED_PART: Final = f"{rate(names.HTTP_REQUESTS, FAILED)} / {rate(names.HTTP_REQUESTS)}"
