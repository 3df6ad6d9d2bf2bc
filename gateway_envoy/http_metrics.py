"""Counting requests: Envoy's statistics logger, and the page that gives its numbers the names of requirements.md.

Envoy counts each request itself when it ends: what that costs cannot be told from noise, what it knows is everything,
its own refusals included, and nothing has to be carried anywhere. It cannot name freely what it counts (`envoy_` stands
before every name, and labels are texts of one request), so a listener of its own serves the admin page's numbers
through a script that renames and adds them up (filters/metrics.lua).
"""

from typing import Final

from gateway_envoy.config import Json
from observability.names import HTTP_DURATION

_PREFIX: Final = "candela"
_STATS: Final = "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config"
# A caller can invent verbs, and each new one would be a statistic for ever.
_VERBS: Final = "GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS"
_VERB: Final = "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%"
_OTHER_VERB: Final = "_OTHER"  # as OpenTelemetry's conventions for HTTP have it

_MOST_COUNTERS: Final = 20_000
_MOST_HISTOGRAMS: Final = 2_000
STATISTICS: Final = f"{_PREFIX}."
"""How Envoy's names of these statistics begin."""


def counting() -> list[Json]:
    """Return the access logs that count the edge's requests: one for the verbs there are, one for all others."""
    return [_counting(_VERB, invert=False), _counting(_OTHER_VERB, invert=True)]


def _counting(verb: str, *, invert: bool) -> Json:
    header = {
        "name": ":method",
        "string_match": {"safe_regex": {"regex": _VERBS}},
        "invert_match": invert,
        "treat_missing_header_as_empty": True,
    }
    where = [{"name": "route", "value_format": "%ROUTE_NAME%"}, {"name": "verb", "value_format": verb}]
    outcome = [
        {"name": "http", "value_format": "%RESPONSE_CODE%"},
        {"name": "grpc", "value_format": "%GRPC_STATUS_NUMBER%"},
    ]
    config: Json = {
        "@type": _STATS,
        # Names are bounded by the routes; this bounds them once more, whatever a later Envoy lets into a label.
        "stats_scope": {"prefix": _PREFIX, "max_counters": _MOST_COUNTERS, "max_histograms": _MOST_HISTOGRAMS},
        "counters": [{"stat": {"name": "requests", "tags": [*where, *outcome]}, "value_fixed": 1}],
        "histograms": [
            {"stat": {"name": "duration", "tags": where}, "unit": "Milliseconds", "value_format": "%DURATION%"}
        ],
    }
    return {
        "name": "envoy.access_loggers.stats",
        "filter": {"header_filter": {"header": header}},
        "typed_config": config,
    }


def histogram_buckets() -> list[Json]:
    """Return the bounds of the durations, in Envoy's milliseconds."""
    return [{"match": {"prefix": STATISTICS}, "buckets": [seconds * 1000 for seconds in HTTP_DURATION.buckets]}]
