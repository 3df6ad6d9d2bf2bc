"""Turns JSON requests into gRPC calls and their answers back, strictly by the contract."""

from typing import Final

from gateway_envoy.config import GatewayConfig, Json

NAME: Final = "envoy.filters.http.grpc_json_transcoder"


def build(config: GatewayConfig) -> Json:
    """Return the filter for the public methods of the deployed servers."""
    return {
        "name": NAME,
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
            "proto_descriptor": str(config.descriptor_set),
            "services": sorted({method.service for method in config.methods if method.rules}),
            # Routes are those of the JSON paths: with their verbs, limits, times and names.
            "match_incoming_request_route": True,
            # A verb of another resource is no part of this one's name.
            "match_unregistered_custom_verb": True,
            "convert_grpc_status": True,
            "print_options": {
                "always_print_primitive_fields": True,
                "stream_newline_delimited": True,
                "stream_sse_style_delimited": True,
            },
            "request_validation_options": {
                "reject_unknown_method": True,
                "reject_unknown_query_parameters": True,
                "reject_binding_body_field_collisions": True,
            },
        },
    }


def off() -> Json:
    """Return what a route says that answers by itself: strictness would refuse its path."""
    return {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
