"""gRPC and gRPC-Web on the same port as JSON: real statuses, with details also where the gateway refuses."""

import base64
import struct
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.gateway.backend import refuse
from tests.gateway.contract import PROBE
from tests.gateway.gateway import Gateway
from tests.gateway.http import Answer, call
from tests.gateway.rpc import both_streams, code_of, reason_of, server_stream, unary


@pytest.fixture
def channel(gateway: Gateway) -> Iterator[grpc.Channel]:
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 64 << 20))
    with grpc.insecure_channel(gateway.envoy.target, options) as channel:
        yield channel


def refusal(channel: grpc.Channel, method: str, **options: Any) -> tuple[grpc.StatusCode, str]:
    """Calls a method that must fail; returns status and reason."""
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, method, **options)
    return code_of(caught.value), reason_of(caught.value)


def test_unary(gateway: Gateway, channel: grpc.Channel) -> None:
    gateway.probe.on("Echo", lambda request, _: gateway.reply(text=request.text))
    answer, metadata = unary(channel, "Echo", gateway.echo(text="hello"))
    assert gateway.messages.type("candela.probe.v1.EchoReply").FromString(answer) == gateway.reply(text="hello")
    assert len(metadata["candela-trace-id"]) == 32


def test_details_of_a_service_pass(gateway: Gateway, channel: grpc.Channel) -> None:
    gateway.probe.on("Echo", refuse(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"))
    assert refusal(channel, "Echo") == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


@pytest.mark.parametrize(
    ("code", "text", "reason", "shown"),
    [
        (grpc.StatusCode.NOT_FOUND, "nothing: ü", "NOT_FOUND", "nothing: ü"),
        (grpc.StatusCode.UNKNOWN, "Exception calling application: secret", "INTERNAL", "internal error"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max", "REQUEST_TOO_LARGE", "message larger than max"),
    ],
)
def test_bare_status_gets_a_reason(
    gateway: Gateway, channel: grpc.Channel, code: grpc.StatusCode, text: str, reason: str, shown: str
) -> None:
    gateway.probe.on("Echo", lambda _, context: context.abort(code, text))
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo")
    assert (code_of(caught.value), reason_of(caught.value)) == (code, reason)
    assert shown in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("method", ["Nothing", "Inside"])
def test_unknown_method(gateway: Gateway, channel: grpc.Channel, method: str) -> None:
    assert refusal(channel, method) == (grpc.StatusCode.UNIMPLEMENTED, "PATH_NOT_FOUND")
    assert gateway.probe.seen == []


def test_internal_services_are_not_at_the_edge(channel: grpc.Channel) -> None:
    for path in ("/candela.inference.v1.OcrService/DetectText", "/grpc.health.v1.Health/Check"):
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, path)
        assert code_of(caught.value) is grpc.StatusCode.UNIMPLEMENTED


def test_token_missing(channel: grpc.Channel) -> None:
    assert refusal(channel, "GetProbe") == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


def test_token_expired(gateway: Gateway, channel: grpc.Channel) -> None:
    metadata = tuple(gateway.issuer.bearer(exp=1_700_000_000).items())
    assert refusal(channel, "GetProbe", metadata=metadata) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


def test_streams_both_ways(gateway: Gateway, channel: grpc.Channel) -> None:
    def talk(requests: Iterator[Any], _: grpc.ServicerContext) -> Iterator[Any]:
        for number, request in enumerate(requests):
            yield gateway.event(seq=number, delta=request.text)

    gateway.probe.on("Talk", talk)
    answers = both_streams(channel, "Talk", [gateway.echo(text="a"), gateway.echo(text="b")])
    event = gateway.messages.type("candela.probe.v1.Event")
    assert [event.FromString(answer) for answer in answers] == [
        gateway.event(seq=0, delta="a"),
        gateway.event(seq=1, delta="b"),
    ]


def test_stream_that_fails_after_its_first_message(gateway: Gateway, channel: grpc.Channel) -> None:
    def generate(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield gateway.event(seq=1, delta="a")
        refuse(grpc.StatusCode.DATA_LOSS, "DATA_LOSS")(None, context)

    gateway.probe.on("Generate", generate)
    answers = server_stream(channel, "Generate")
    assert next(answers)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert code_of(caught.value) is grpc.StatusCode.DATA_LOSS
    assert reason_of(caught.value) == "DATA_LOSS"


def test_cancellation_reaches_the_service(gateway: Gateway, channel: grpc.Channel) -> None:
    def generate(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(gateway.probe.released.set)
        yield gateway.event(seq=1, delta="a")
        gateway.probe.released.wait(10)

    gateway.probe.released.clear()
    gateway.probe.on("Generate", generate)
    answers = server_stream(channel, "Generate")
    assert next(answers)
    answers.cancel()
    assert gateway.probe.released.wait(5)
    gateway.probe.released.clear()


def test_message_of_33_mib(gateway: Gateway, channel: grpc.Channel) -> None:
    size = (32 << 20) + 1000
    gateway.probe.on("Upload", lambda request, _: gateway.reply(total_bytes=len(request.content)))
    request = gateway.messages("candela.probe.v1.UploadRequest", content=bytes(size)).SerializeToString()
    answer, _ = unary(channel, "Upload", request, timeout=30)
    assert answer == gateway.reply(total_bytes=size).SerializeToString()


def test_message_beyond_the_services_limit(gateway: Gateway, channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Upload", bytes(34 << 20), timeout=30)
    assert code_of(caught.value) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert gateway.probe.seen == []


def web(gateway: Gateway, method: str, request: bytes = b"", *, text: bool = False, **headers: str) -> Answer:
    """Calls a method as a browser does."""
    body = b"\0" + struct.pack(">I", len(request)) + request
    kind = "application/grpc-web-text" if text else "application/grpc-web+proto"
    sent = {"content-type": kind, "accept": kind, "x-grpc-web": "1"} | headers
    return call(gateway.port, "POST", f"/{PROBE}/{method}", base64.b64encode(body) if text else body, sent)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Returns the frames of a gRPC-Web body: flags and content; flag 128 marks the trailers."""
    found = []
    while data:
        flags, size = data[0], struct.unpack(">I", data[1:5])[0]
        found.append((flags, data[5 : 5 + size]))
        data = data[5 + size :]
    return found


@pytest.mark.parametrize("text", [False, True])
def test_web(gateway: Gateway, text: bool) -> None:
    gateway.probe.on("Echo", lambda request, _: gateway.reply(text=request.text))
    answer = web(gateway, "Echo", gateway.echo(text="hello"), text=text, origin="http://localhost:3000")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    (message, trailers) = frames(_unchunked(answer.body) if text else answer.body)
    assert message == (0, gateway.reply(text="hello").SerializeToString())
    assert trailers[0] == 128
    assert b"grpc-status:0" in trailers[1]


def _unchunked(body: bytes) -> bytes:
    """Decodes base64 that was written in pieces, each with its own padding."""
    return b"".join(base64.b64decode(piece) for piece in body.replace(b"=", b"= ").replace(b"= =", b"==").split())


@pytest.mark.parametrize("text", [False, True])
def test_web_refusals(gateway: Gateway, text: bool) -> None:
    for method, status, reason in (("Nothing", "12", b"PATH_NOT_FOUND"), ("GetProbe", "16", b"TOKEN_MISSING")):
        answer = web(gateway, method, text=text)
        assert (answer.status, answer.headers["grpc-status"]) == (200, status)
        assert answer.headers["content-type"].startswith("application/grpc-web")
        assert reason in base64.b64decode(answer.headers["grpc-status-details-bin"] + "==")


def test_web_error_of_a_service(gateway: Gateway) -> None:
    gateway.probe.on("Echo", refuse(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"))
    answer = web(gateway, "Echo")
    assert (answer.status, answer.headers["grpc-status"]) == (200, "5")


def test_web_stream(gateway: Gateway) -> None:
    gateway.probe.on("Generate", lambda _, __: iter([gateway.event(seq=1, delta="a"), gateway.event(seq=2, delta="b")]))
    found = frames(web(gateway, "Generate").body)
    assert [flags for flags, _ in found] == [0, 0, 128]
