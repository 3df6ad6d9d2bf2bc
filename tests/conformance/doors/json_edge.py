"""JSON and server-sent events over plain HTTP, as a script or a browser without any library of ours calls."""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import json_format
from google.protobuf.message import Message

from tests.conformance.contract import Method, printed
from tests.conformance.doors.door import Question
from tests.conformance.matching import differences
from tests.conformance.outcome import Failure, Outcome, failure_of, received, status_from_json
from tests.support.published_schema import checked, checked_event

_VARIABLE: Final = re.compile(r"\{([^{}=]+)(?:=[^{}]*)?\}")
_TRACE: Final = "candela-trace-id"


class JsonEdge:
    """The edge's JSON paths. A path is made from the method's HTTP rule, as any reader of the contract can."""

    name = "json"

    def __init__(self, base_url: str) -> None:
        # What the published OpenAPI document does not tell of is no answer at all.
        self._http = httpx.Client(base_url=base_url, timeout=60.0, event_hooks={"response": [checked]})

    def can(self, question: Question) -> bool:
        return rule_of(question.method) is not None and (question.cancel_after is None or question.method.streams)

    def ask(self, question: Question) -> Outcome:
        verb, path, query, body = http_call(question.method, question.request)
        headers = {"authorization": f"Bearer {question.token}"} if question.token else {}
        with self._http.stream(verb, path, params={**query, **question.query}, json=body, headers=headers) as response:
            if response.is_error:
                return Outcome(failure=_failure(response), trace=response.headers.get(_TRACE, ""))
            if question.cancel_after is not None:
                return _left_early(response, question)
            return _reply(response, question.method)

    def close(self) -> None:
        self._http.close()


def _reply(response: httpx.Response, method: Method) -> Outcome:
    trace = response.headers.get(_TRACE, "")
    if method.is_raw:
        body = {"contentType": response.headers.get("content-type", ""), "data": _base64(response.read())}
        return Outcome([{name: text for name, text in body.items() if text}], None, trace)
    raw = [json.loads(text) for text in (_events(response) if method.streams else [response.read()])]
    messages: list[Message] = []
    strange: list[str] = []
    for one in raw:
        if method.streams:
            checked_event(response.request.method, response.request.url.path, one)
        try:
            message = json_format.ParseDict(one, method.response())
        except json_format.ParseError as error:
            return Outcome(raw, None, trace, [f"{method.response.DESCRIPTOR.full_name}: {error}"])
        messages.append(message)
        strange += differences(printed(message), one, "JSON")
    outcome = received(messages, None, trace)
    return Outcome(outcome.messages, None, trace, [*outcome.strange, *strange])


def _left_early(response: httpx.Response, question: Question) -> Outcome:
    """Read some events and hang up; the client's own word for that is CANCELLED."""
    pieces: Iterator[str | bytes] = response.iter_bytes() if question.method.is_raw else _events(response)
    for _ in range(question.cancel_after or 0):
        next(pieces)
    return Outcome(failure=Failure("CANCELLED"))


def _events(response: httpx.Response) -> Iterator[str]:
    """Yield the data of each server-sent event."""
    for line in response.iter_lines():
        if line.startswith("data:"):
            yield line.removeprefix("data:").strip()


def _failure(response: httpx.Response) -> Failure:
    raw = json.loads(response.read())["error"]
    codes = {"code": raw.pop("status"), "http": raw.pop("code")}
    status = status_from_json({"message": raw["message"], "details": raw["details"]})
    found = failure_of(status, trace=response.headers.get(_TRACE, ""), http=response.status_code)
    if codes["http"] != response.status_code:
        raise AssertionError(f"the body says {codes['http']} and the answer {response.status_code}")
    return Failure(
        codes["code"],
        found.message,
        found.reason,
        found.domain,
        found.metadata,
        found.violations,
        found.retry,
        found.trace,
        found.http,
    )


def rule_of(method: Method) -> HttpRule | None:
    """Return the method's HTTP rule, None for one that the gateway does not serve as JSON."""
    if not method.options.HasExtension(annotations_pb2.http):  # type: ignore[arg-type] # typed as a plain descriptor
        return None
    rule: HttpRule = method.options.Extensions[annotations_pb2.http]  # type: ignore[index] # as above
    return rule


def http_call(method: Method, request: Mapping[str, Any]) -> tuple[str, str, dict[str, Any], Any]:
    """Return verb, path, query and body (None for none) of a call."""
    rule = rule_of(method)
    if rule is None:
        raise ValueError(f"{method.name} has no HTTP rule")
    verb = str(rule.WhichOneof("pattern"))
    left = json.loads(json.dumps(request))
    path = _VARIABLE.sub(lambda found: quote(str(_take(left, found[1])), safe="/"), getattr(rule, verb))
    body = None
    if rule.body == "*":
        body, left = left, {}
    elif rule.body:
        body = left.pop(_json_name(rule.body), {})
    return verb.upper(), path, dict(_flat(left)), body


def _take(request: dict[str, Any], path: str) -> Any:
    """Take the value of a dotted field path out of a request."""
    head, _, rest = path.partition(".")
    if rest:
        return _take(request.get(_json_name(head), {}), rest)
    return request.pop(_json_name(head), "")


def _flat(request: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in request.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _json_name(field: str) -> str:
    head, *rest = field.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
