"""Names the trace in every answer, also in those that no service gave."""

from typing import Final

from gateway_envoy.config import Json

NAME: Final = "envoy.filters.http.header_mutation"
HEADER: Final = "candela-trace-id"


def build() -> Json:
    """Return the filter."""
    header = {"key": HEADER, "value": "%TRACE_ID%"}
    mutation = {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    return {
        "name": NAME,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
            "mutations": {"response_mutations": [mutation]},
        },
    }
