"""What came back from a call, in one shape for every door, and how it is compared with what must come back."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo

from tests.conformance.contract import Method, populated, strange_fields
from tests.conformance.matching import differences
from tests.conformance.suite import Expected

DOMAIN: Final = "candela.dev"
_TRACE: Final = re.compile(r"[0-9a-f]{32}")
_STATUS_OF_CODE: Final = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a caller sees it. `http` is None where the door has no HTTP status, `trace` empty without one."""

    code: str
    message: str = ""
    reason: str = ""
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Sequence[Mapping[str, str]] = ()
    retry: bool = False
    trace: str = ""
    http: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to: its messages as ProtoJSON, and how it failed if it did.

    `trace` is None where the door cannot tell; `strange` names what is not as the contract has it.
    """

    messages: Sequence[Any] = ()
    failure: Failure | None = None
    trace: str | None = None
    strange: Sequence[str] = ()


def received(messages: Sequence[Message], failure: Failure | None = None, trace: str | None = None) -> Outcome:
    """Return the outcome of messages that came as messages."""
    strange = [found for message in messages for found in strange_fields(message)]
    return Outcome([_shown(message) for message in messages], failure, trace, strange)


def _shown(message: Message) -> dict[str, Any]:
    """Return a message as ProtoJSON, an error within it as the status that it is."""
    status = getattr(message, "error", None)
    if not isinstance(status, status_pb2.Status) or not message.HasField("error"):
        return populated(message)
    rest = type(message).FromString(message.SerializeToString())
    rest.ClearField("error")
    return {**populated(rest), "error": failure_of(status)}


def failure_of(status: status_pb2.Status, *, trace: str = "", http: int | None = None) -> Failure:
    """Return what a status tells."""
    info, bad, retry, request = ErrorInfo(), BadRequest(), RetryInfo(), RequestInfo()
    parts: tuple[Message, ...] = (info, bad, retry, request)
    found = {part.DESCRIPTOR.full_name for detail in status.details for part in parts if detail.Unpack(part)}
    return Failure(
        code=code_pb2.Code.Name(status.code),
        message=status.message,
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations=[{"field": v.field, "rule": v.reason, "description": v.description} for v in bad.field_violations],
        retry=RetryInfo.DESCRIPTOR.full_name in found,
        trace=request.request_id or trace,
        http=http,
    )


def status_from_json(raw: Mapping[str, Any]) -> status_pb2.Status:
    """Return a status out of ProtoJSON; raises json_format.ParseError."""
    status: status_pb2.Status = json_format.ParseDict(dict(raw), status_pb2.Status())
    return status


def problems(expected: Expected, actual: Outcome, method: Method) -> Iterator[str]:
    """Yield how an outcome differs from what must come back (matchers in place); nothing when it fits."""
    yield from actual.strange
    if actual.trace is not None and not _TRACE.fullmatch(actual.trace):
        yield f"the reply names no trace: {actual.trace!r}"
    match expected.kind:
        case "error":
            yield from _failure_problems(expected.value, actual.failure)
            if actual.messages:
                yield f"messages came before the error: {actual.messages!r}"
        case "cancel":
            if actual.failure is None or actual.failure.code != "CANCELLED":
                yield f"the call did not end as CANCELLED: {actual!r}"
        case _ if actual.failure is not None:
            yield f"it failed: {actual.failure!r}"
        case "reply":
            yield from _reply_problems(expected.value, actual)
        case "body":
            yield from differences(expected.value, _joined(actual.messages))
        case "stream":
            yield from _stream_problems(expected.value, actual, method)


def _reply_problems(expected: Any, actual: Outcome) -> Iterator[str]:
    if len(actual.messages) != 1:
        yield f"{len(actual.messages)} messages instead of one"
        return
    yield from differences(expected, actual.messages[0])


def _stream_problems(expected: Mapping[str, Any], actual: Outcome, method: Method) -> Iterator[str]:
    messages, end = list(actual.messages), expected["end"]
    terminal = [name for name in method.terminal_events if messages and name in messages[-1]]
    early = [one for one in messages[:-1] if any(name in one for name in method.terminal_events)]
    if early:
        yield f"a terminal event came before the end: {early!r}"
    if isinstance(end, Mapping):
        if terminal != ["error"]:
            yield f"the stream did not end with an error: {messages!r}"
            return
        yield from _failure_problems(end["error"], messages.pop()["error"])
    elif terminal != ([] if end == "none" else [end]):
        yield f"the stream ended with {terminal or 'no terminal event'} instead of {end}"
    if "messages" in expected:
        yield from differences(expected["messages"], messages, "messages")


def _failure_problems(expected: Mapping[str, Any], actual: Failure | None) -> Iterator[str]:
    code = expected["code"]
    if actual is None:
        yield f"it succeeded instead of failing with {code}"
        return
    wanted = {"reason": expected.get("reason", code), "domain": DOMAIN, "metadata": expected.get("metadata", {})}
    found = {"reason": actual.reason, "domain": actual.domain, "metadata": dict(actual.metadata)}
    yield from differences({"code": code, **wanted}, {"code": actual.code, **found})
    violations = [{name: one[name] for name in ("field", "rule") if one[name]} for one in actual.violations]
    yield from differences(expected.get("violations", []), violations, ".violations")
    if not all(one.get("description") for one in actual.violations):
        yield f".violations: one of them does not say what is wrong: {actual.violations!r}"
    if actual.retry is not expected.get("retry", False):
        yield f".retry: {actual.retry}"
    if not actual.message:
        yield ".message: is empty"
    if not _TRACE.fullmatch(actual.trace):
        yield f".trace: {actual.trace!r} is no trace id"
    http = expected.get("http", _STATUS_OF_CODE[code])
    if actual.http not in (None, http):
        yield f".http: {actual.http} is not {http}"


def _joined(pieces: Sequence[Any]) -> dict[str, str]:
    """Return a file that came in pieces as one `google.api.HttpBody`."""
    whole = b"".join(base64.b64decode(piece.get("data", "")) for piece in pieces)
    content_type = next((piece["contentType"] for piece in pieces if "contentType" in piece), "")
    joined = {"contentType": content_type, "data": base64.b64encode(whole).decode()}
    return {name: text for name, text in joined.items() if text}
