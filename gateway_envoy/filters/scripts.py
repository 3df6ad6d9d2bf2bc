"""The Lua filter: one script shapes every error, another answers health checks."""

from importlib.resources import files
from typing import Final

from gateway_envoy.config import Json

NAME: Final = "envoy.filters.http.lua"
_TYPES: Final = "type.googleapis.com/envoy.extensions.filters.http.lua.v3"


def build() -> Json:
    """Return the filter with the script that shapes errors."""
    return {
        "name": NAME,
        "typed_config": {"@type": f"{_TYPES}.Lua", "default_source_code": {"inline_string": read("errors.lua")}},
    }


def own(name: str) -> Json:
    """Return the filter with a script of its own, for a listener without the one for errors."""
    return {
        "name": NAME,
        "typed_config": {"@type": f"{_TYPES}.Lua", "default_source_code": {"inline_string": read(name)}},
    }


def context(**values: str) -> Json:
    """Return what a route tells the error script: `shape` (`openai`), `limit_bytes`."""
    return {"@type": f"{_TYPES}.LuaPerRoute", "filter_context": values}


def health() -> Json:
    """Return what the health route says: its own script instead of the one for errors."""
    return {"@type": f"{_TYPES}.LuaPerRoute", "source_code": {"inline_string": read("health.lua")}}


def read(name: str) -> str:
    """Return a script of this package."""
    return files("gateway_envoy.filters").joinpath(name).read_text(encoding="utf-8")
