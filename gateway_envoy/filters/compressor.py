"""Compresses JSON answers and the page about them.

Streams and gRPC never: they would wait in the compressor's window.
"""

from typing import Final

from gateway_envoy.config import GatewayConfig, Json

GZIP: Final = "envoy.filters.http.compressor.gzip"
BROTLI: Final = "envoy.filters.http.compressor.brotli"
_TYPES: Final = "type.googleapis.com/envoy.extensions"
_KINDS: Final = ("application/json", "text/html", "text/javascript", "text/css")
_FILTER: Final = f"{_TYPES}.filters.http.compressor.v3"


def build_gzip(config: GatewayConfig) -> Json:
    """Return the filter for gzip, small windows: 12 bits instead of 15 saves most of zlib's memory per answer."""
    library = {
        "@type": f"{_TYPES}.compression.gzip.compressor.v3.Gzip",
        "compression_level": "COMPRESSION_LEVEL_4",
        "memory_level": 5,
        "window_bits": 12,
        "chunk_size": 16384,
    }
    return _compressor(config, GZIP, "gzip", library)


def build_brotli(config: GatewayConfig) -> Json:
    """Return the filter for Brotli at a quality that costs about what gzip does. It is taken when both are welcome."""
    library = {
        "@type": f"{_TYPES}.compression.brotli.compressor.v3.Brotli",
        "quality": 4,
        "window_bits": 16,
        "input_block_bits": 16,
        "chunk_size": 16384,
    }
    brotli = _compressor(config, BROTLI, "brotli", library)
    brotli["typed_config"]["choose_first"] = True
    return brotli


def _compressor(config: GatewayConfig, name: str, library: str, library_config: Json) -> Json:
    common = {
        "min_content_length": config.limits.compress_from,
        "content_type_matcher": [{"prefix": kind} for kind in _KINDS],
    }
    return {
        "name": name,
        "typed_config": {
            "@type": f"{_FILTER}.Compressor",
            "response_direction_config": {"common_config": common},
            "compressor_library": {"name": library, "typed_config": library_config},
        },
    }


def off() -> Json:
    """Return what a route says that must not be compressed."""
    return {"@type": f"{_FILTER}.CompressorPerRoute", "disabled": True}
