"""One way to make a call whatever its shape, so that each promise is tested over all four."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace import ReadableSpan

from tests.unit.kit_grpc.echo import pb

M = TypeVar("M", bound=Message)
SHAPES = ("Unary", "ServerStream", "ClientStream", "Bidi")


@dataclass
class Outcome:
    """What a caller saw: the replies, the code, and what the trailers said."""

    replies: list[Any]
    code: grpc.StatusCode
    details: str
    trailers: dict[str, Any]
    status: status_pb2.Status = field(default_factory=status_pb2.Status)

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        return self.detail(error_details_pb2.ErrorInfo())

    def detail(self, kind: M) -> M:
        """Unpack the detail of that type; an AssertionError when there is none."""
        assert any(one.Unpack(kind) for one in self.status.details), f"no {kind.DESCRIPTOR.name} in {self.status}"
        return kind


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Return a span's trace id and its own id, in hex."""
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def start(
    stub: Any, shape: str, text: str, *, metadata: Sequence[Any] = (), timeout: float = 5.0, **fields: Any
) -> Any:
    """Begin a call of that shape with one request in it."""
    request = pb.EchoRequest(text=text, **fields)
    sent = iter([request]) if shape in ("ClientStream", "Bidi") else request
    return getattr(stub, shape)(sent, metadata=metadata, timeout=timeout)


async def finish(call: Any) -> Outcome:
    """Wait for the end of a call and tell what the caller saw."""
    replies = []
    try:
        if hasattr(call, "__aiter__"):
            async for reply in call:
                replies.append(reply)  # noqa: PERF401 - what came before a failure is kept
        else:
            replies.append(await call)
    except grpc.aio.AioRpcError:
        pass  # told by the code below
    trailers = dict(await call.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers.get("grpc-status-details-bin", b""))
    return Outcome(replies, await call.code(), await call.details() or "", trailers, status)


async def invoke(stub: Any, shape: str, text: str, **options: Any) -> Outcome:
    """Make a call of that shape and tell what the caller saw."""
    return await finish(start(stub, shape, text, **options))
