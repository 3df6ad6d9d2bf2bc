"""Holds every answer of a mesh against the document that the mesh publishes.

`checked` is an event hook for httpx: a status, header, media type or body that `build/openapi.json` does not tell of
fails the test that got it. The check is stricter than the document, which allows fields that are yet to come: here a
field that is not in the document is a finding, too. That the mesh serves this very document is a test of its own.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import httpx
from openapi_schema_validator import OAS31Validator

Json = dict[str, Any]

DOCUMENT: Final = Path(__file__).parents[2] / "build" / "openapi.json"
_EVENTS: Final = "text/event-stream"
_JSON: Final = "application/json"
_NOT_FOUND, _WRONG_VERB = 404, 405
_UNAVAILABLE, _OVERLOADED = 503, b"the gateway is overloaded"
_UNTRACED: Final = frozenset({400, 408, 426, 431})
# Conditions on a value that is described elsewhere: they say nothing of the fields that it may have.
_CONDITIONS: Final = frozenset({"allOf", "contains", "not"})


class UnpublishedReplyError(AssertionError):
    """The mesh answered what its document does not tell of."""


def checked(response: httpx.Response) -> None:
    """Raises UnpublishedReplyError for an answer that the document does not tell of."""
    # Events and files are left to whoever reads them, or goes away before they are whole.
    kind = response.headers.get("content-type", _JSON).partition(";")[0].strip()
    body = response.read() if kind == _JSON else b""
    request = response.request
    found = published().problems(request.method, request.url.path, response.status_code, response.headers, body)
    if found:
        shown = body[:1000].decode(errors="replace")
        raise UnpublishedReplyError(
            "\n".join([f"{request.method} {request.url.path}: {response.status_code}", *found, shown])
        )


def checked_event(method: str, path: str, event: Any) -> None:
    """Raises UnpublishedReplyError for one event of a stream that the document does not tell of."""
    found = published().event_problems(method, path, event)
    if found:
        raise UnpublishedReplyError("\n".join([f"an event of {method} {path}", *found]))


@lru_cache(maxsize=1)
def published() -> "PublishedSchema":
    """Returns the document of this checkout."""
    return PublishedSchema(json.loads(DOCUMENT.read_text(encoding="utf-8")))


class PublishedSchema:
    """An OpenAPI document that answers can be held against."""

    def __init__(self, document: Json) -> None:
        self._document = document
        components = {"schemas": {n: _closed(one) for n, one in document["components"]["schemas"].items()}}
        self._components = components
        patterns = ((path, re.compile(_pattern(path))) for path in document["paths"])
        # Literal paths first: `/v1/users/me` would be `/v1/users/{user}`, too.
        self._paths = sorted(patterns, key=lambda pair: "{" in pair[0])
        self._validators: dict[str, OAS31Validator] = {}

    def path_of(self, path: str) -> str | None:
        """Returns the path of the document that a request's path is one of."""
        return next((name for name, pattern in self._paths if pattern.fullmatch(path)), None)

    def problems(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
        """Returns one line for each thing that the document does not tell of."""
        if method == "OPTIONS":
            return []  # a browser's preflight request is no operation
        response = self._response(method, path, status)
        if response is None:
            return [f"the document does not tell of the status {status}"]
        # Before a request is one, nobody traces it; and an overloaded gateway refuses requests before it looks at them.
        traced = status not in _UNTRACED and not (status == _UNAVAILABLE and _OVERLOADED in body)
        found = [*self._wrong_headers(response, headers, traced=traced)]
        if method != "HEAD":
            found += self._wrong_body(response, headers.get("content-type", ""), body)
        return found

    def event_problems(self, method: str, path: str, event: Any) -> list[str]:
        """Returns how one event of a stream differs from what the document tells."""
        response = self._response(method, path, 200) or {}
        content = response.get("content", {}).get(_EVENTS)
        return ["the document tells of no stream"] if content is None else self._differences(content["schema"], event)

    def _response(self, method: str, path: str, status: int) -> Json | None:
        template = self.path_of(path)
        operation = self._document["paths"].get(template, {}).get(method.lower())
        if operation is not None:
            response = operation["responses"].get(str(status))
            return None if response is None else self._resolved(response)
        expected = _NOT_FOUND if template is None else _WRONG_VERB
        return self._gateway_failure(path, status, expected)

    def _gateway_failure(self, path: str, status: int, expected: int) -> Json | None:
        """Returns the answer to what is no operation: that status, or one that the gateway may give to anything."""
        health = self._document["paths"]["/healthz"]["get"]["responses"]
        names = {code: one["$ref"].rpartition("/")[2] for code, one in health.items() if "$ref" in one}
        names |= {str(_NOT_FOUND): "NotFound", str(_WRONG_VERB): "MethodNotAllowed"}
        if status in (_NOT_FOUND, _WRONG_VERB) and status != expected:
            return None
        name = names.get(str(status))
        prefix = "OpenAi" if path.startswith("/openai/") else ""
        found: Json | None = self._document["components"]["responses"].get(f"{prefix}{name}")
        return found

    def _resolved(self, one: Json) -> Json:
        if "$ref" not in one:
            return one
        found: Any = self._document
        for part in one["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        resolved: Json = found
        return resolved

    def _wrong_headers(self, response: Json, headers: Mapping[str, str], *, traced: bool) -> Iterator[str]:
        for name, one in response.get("headers", {}).items():
            about = self._resolved(one)
            if name in headers:
                yield from (f"header {name}: {why}" for why in self._differences(about["schema"], headers[name]))
            elif about.get("required") or (name == "candela-trace-id" and traced):
                yield f"header {name} is missing"

    def _wrong_body(self, response: Json, content_type: str, body: bytes) -> list[str]:
        content = response.get("content", {})
        kind = content_type.partition(";")[0].strip()
        if not content:
            return [f"a body of {len(body)} bytes where there should be none"] if body else []
        media = content.get(kind) or content.get("*/*")
        if media is None:
            return [f"the document does not tell of {kind or 'no media type'}"]
        if kind != _JSON:
            return []
        try:
            value = json.loads(body)
        except ValueError:
            return ["the body is no JSON"]
        return self._differences(media["schema"], value)

    def _differences(self, schema: Json, value: Any) -> list[str]:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = _closed(schema) | {"components": self._components}
            self._validators[key] = OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER)
        errors = self._validators[key].iter_errors(value)
        return [f"{error.json_path}: {error.message[:500]}" for error in errors]


def _pattern(path: str) -> str:
    """Returns the regular expression of a path; a colon begins a verb and is in no name."""
    parts = re.split(r"(\{[^}]+\})", path)
    return "".join("[^/:]+" if part.startswith("{") else re.escape(part) for part in parts)


def _closed(schema: Any, *, condition: bool = False) -> Any:
    """Returns a schema whose objects have no field that is not named."""
    if isinstance(schema, list):
        return [_closed(one, condition=condition) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: _closed(one, condition=condition) for name, one in inner.items()}
        if key == "properties"
        else _closed(inner, condition=condition or key in _CONDITIONS)
        for key, inner in schema.items()
        if key not in ("example", "enum", "const")
    }
    made |= {key: schema[key] for key in ("enum", "const") if key in schema}
    if schema.get("type") == "object" and "properties" in schema and not condition:
        made.setdefault("additionalProperties", False)
    return made
