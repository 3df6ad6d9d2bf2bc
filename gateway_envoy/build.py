"""Puts the whole bootstrap together."""

from typing import Final

import yaml

from gateway_envoy.clusters import clusters
from gateway_envoy.config import GatewayConfig, Json
from gateway_envoy.http_metrics import STATISTICS, histogram_buckets
from gateway_envoy.listeners import edge_listener, internal_listener
from gateway_envoy.metrics_listener import metrics_listener
from gateway_envoy.overload import overload_manager
from gateway_envoy.tracing import SERVICE_NAME, runtime

# Statistics are kept for what is watched: requests, connections and health. Everything Envoy can count would cost
# megabytes that nobody reads.
_STATISTICS: Final = (
    "http.edge.downstream_", "http.internal.downstream_", "listener_manager.", "server.", "overload.",
    "http.edge.jwt_authn.", "tracing.opentelemetry.", STATISTICS,
)  # fmt: skip
_CLUSTER_STATISTICS: Final = r"cluster\.[a-z_]+\.(upstream_(rq|cx)_.*|membership_.*|health_check\..*)"


def bootstrap(config: GatewayConfig) -> Json:
    """Return Envoy's bootstrap in protobuf's JSON form."""
    included: list[Json] = [{"prefix": prefix} for prefix in _STATISTICS]
    included.append({"safe_regex": {"regex": _CLUSTER_STATISTICS}})
    return {
        "node": {"id": SERVICE_NAME, "cluster": SERVICE_NAME},
        "admin": {"address": config.admin.envoy()},
        "static_resources": {
            "listeners": [edge_listener(config), internal_listener(config), *metrics_listener(config)],
            "clusters": clusters(config),
        },
        "overload_manager": overload_manager(config.limits),
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": included}},
            "histogram_bucket_settings": histogram_buckets(),
        },
        # How old a histogram may be on the page; counters are never old.
        "stats_flush_interval": "1s",
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": runtime()}, {"name": "admin", "admin_layer": {}}]
        },
    }


class _Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as blocks, and repeats what occurs twice instead of referring to it."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(configuration: Json) -> str:
    """Return a configuration as YAML, the same text for the same configuration."""
    return yaml.dump(configuration, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
