"""What the gateway answers itself, without a service: health, and the documents about the mesh."""

from typing import Final

from openapi import errors
from openapi.rules import Schema

TAG: Final = {"name": "Gateway", "description": "Health, and the documents about the mesh. Nobody needs a token here."}

_ALIVE: Final[Schema] = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "SERVING"}},
}
_TEXT: Final[Schema] = {"type": "string"}
_DOCUMENTS: Final[tuple[tuple[str, str, str, str, Schema], ...]] = (
    ("/openapi.json", "GetOpenApi", "This document.", "application/json", {"type": "object"}),
    ("/candela.binpb", "GetDescriptorSet", "The contract, for grpcurl and code.", "application/octet-stream", {}),
    ("/docs", "GetDocs", "A page to read this document on and to try it.", "text/html", _TEXT),
    ("/docs/{asset}", "GetDocsAsset", "A part of that page.", "*/*", {}),
)
_ASSET: Final[Schema] = {
    "name": "asset",
    "in": "path",
    "required": True,
    "description": "Its file name.",
    "schema": {"type": "string", "enum": ["docs.js", "docs.css", "swagger-ui-bundle.js", "swagger-ui.css"]},
}


def gateway_paths() -> dict[str, Schema]:
    """Returns the paths that Envoy answers itself."""
    found = {path: {"get": _operation(name, about, kind, schema)} for path, name, about, kind, schema in _DOCUMENTS}
    asset = found["/docs/{asset}"]["get"]
    asset["parameters"] = [_ASSET]
    asset["responses"] |= errors.references([404])
    found["/"] = {"get": _landing()}
    for path, name in (("/healthz", "GetHealth"), ("/health", "GetHealth_2")):
        found[path] = {"get": _health(name)}
    return found


def _operation(name: str, about: str, kind: str, schema: Schema) -> Schema:
    return {
        "operationId": f"Gateway_{name}",
        "tags": [TAG["name"]],
        "summary": about,
        "description": about,
        "parameters": [],
        "responses": {
            "200": {
                "description": "Done.",
                "headers": {errors.TRACE_HEADER: errors.header(errors.TRACE_HEADER, required=True)},
                "content": {kind: {"schema": schema}},
            }
        }
        | errors.references(errors.statuses("", public=True, named=False, repeatable=False, openai=False)),
        "security": [],
    }


def _health(name: str) -> Schema:
    about = (
        "Says whether every service has a healthy server; otherwise 503, whose `services` names those that have none."
    )
    made = _operation(name, about, "application/json", _ALIVE)
    return made | {"summary": "Health."}


def _landing() -> Schema:
    made = _operation("GetLanding", "Leads to the page that shows this document.", "text/html", _TEXT)
    made["responses"] = {
        "307": {
            "description": "To `/docs`.",
            "headers": {"location": {"required": True, "schema": {"const": "/docs"}}},
        }
    } | {status: one for status, one in made["responses"].items() if status != "200"}
    return made
