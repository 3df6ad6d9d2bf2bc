"""The documents about the mesh that the gateway serves: the contract in two forms, and the page that shows it.

They are files that Envoy reads at its start and answers with itself: no service, no token, no Node.
"""

from pathlib import Path
from typing import Final

from gateway_envoy.config import StaticFile

LANDING: Final = "/docs"
"""Where `/` leads."""

_PAGE: Final = Path("openapi/page")
# What the page may do: load scripts and styles from here, and call this very mesh. (Swagger UI's pictures are data.)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_GUARDED: Final = (("content-security-policy", _POLICY), ("referrer-policy", "no-referrer"))


def _asset(name: str, content_type: str) -> StaticFile:
    return StaticFile(f"/docs/{name}", _PAGE / name, content_type)


DOCUMENTS: Final = (
    StaticFile("/openapi.json", Path("build/openapi.json"), "application/json"),
    StaticFile("/candela.binpb", Path("build/candela-public.binpb"), "application/octet-stream"),
    StaticFile(LANDING, _PAGE / "docs.html", "text/html; charset=utf-8", _GUARDED),
    _asset("docs.js", "text/javascript; charset=utf-8"),
    _asset("docs.css", "text/css; charset=utf-8"),
    _asset("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    _asset("swagger-ui.css", "text/css; charset=utf-8"),
)
