"""What of a request's headers reaches the services, and which headers answers carry."""

import gzip
import re

import grpc
import pytest

from tests.gateway.gateway import Gateway
from tests.gateway.http import RawConnection, call, send_raw
from tests.support.eventually import eventually_sync

FORGED = {
    "x-user-id": "admin",
    "x-tenant": "other",
    "x-tenant-id": "other",
    "x-candela-user": "admin",
    "x-forwarded-user": "admin",
    "x-forwarded-email": "admin@example.org",
    "x-jwt-payload": "e30",
    "x-real-ip": "10.0.0.1",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "inside",
    "x-envoy-internal": "true",
    "x-envoy-original-path": "/v1/other",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-retry-on": "5xx",
    "x-request-id": "forged",
    "X-Original-URL": "/admin",
    "candela-principal": "admin",
    "grpc-internal-encoding-request": "gzip",
    "grpc-tags-bin": "AAAA",
    "grpc-trace-bin": "AAAA",
    "forwarded": "for=10.0.0.1",
    "via": "1.1 inside",
    "tenant": "other",
    "user": "admin",
    "b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
    "baggage": "user=admin",
    "x_user_id": "admin",
    "user_id": "admin",
}
# What Envoy itself adds, with its own values.
OURS = {"x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-envoy-original-path", "x-envoy-original-method"}


def test_no_identity_but_the_token_survives(gateway: Gateway) -> None:
    headers = FORGED | gateway.issuer.bearer() | {"accept-language": "de", "idempotency-key": "k1"}
    assert call(gateway.port, "GET", "/v1/probes/a", headers=headers).status == 200
    seen = gateway.probe.last.metadata
    for name, value in FORGED.items():
        assert seen.get(name.lower()) != value
        if name.lower() not in OURS:
            assert name.lower() not in seen
    assert {name for name in seen if name.startswith("x-")} <= OURS
    assert seen["x-envoy-original-path"] == "/v1/probes/a"
    assert (seen["accept-language"], seen["idempotency-key"]) == ("de", "k1")
    assert seen["authorization"] == headers["authorization"]


def test_same_for_public_methods(gateway: Gateway) -> None:
    assert call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, FORGED).status == 200
    assert {name for name in gateway.probe.last.metadata if name.startswith("x-")} <= OURS


def test_deadline_is_told(gateway: Gateway) -> None:
    left: list[float] = []

    def measure(_: object, context: object) -> object:
        left.append(context.time_remaining())  # type: ignore[attr-defined]  # a ServicerContext
        return gateway.reply()

    gateway.probe.on("Echo", measure)
    assert call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 200
    assert call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, {"grpc-timeout": "5S"}).status == 200
    assert 50 < left[0] <= 60
    assert 3 < left[1] <= 5


def test_trace_context_continues(gateway: Gateway) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, headers)
    assert answer.headers["candela-trace-id"] == trace
    version, seen, parent, flags = gateway.probe.last.metadata["traceparent"].split("-")
    assert (version, seen, flags) == ("00", trace, "01")
    (span,) = eventually_sync(lambda: gateway.traces.of(trace))
    assert span[0] == "gateway"
    assert span[1].name == "POST /v1/probes:echo"
    assert span[1].span_id.hex() == parent
    assert span[1].parent_span_id.hex() == "00f067aa0ba902b7"


def test_one_trace_header_on_every_answer(gateway: Gateway) -> None:
    """Also where the service names the trace in its trailers, which become headers of JSON answers."""

    def named(_: object, context: grpc.ServicerContext) -> object:
        context.send_initial_metadata((("candela-trace-id", "of-the-service"),))
        context.set_trailing_metadata((("candela-trace-id", "of-the-service"),))
        return gateway.reply()

    gateway.probe.on("Echo", named)
    for path in ("POST /v1/probes:echo", "GET /v1/nothing", "GET /healthz", "GET /openapi.json", "GET /v1/users/me"):
        with RawConnection(gateway.port) as connection:
            connection.send(f"{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
            text = connection.until_closed()
        assert len(re.findall(rb"candela-trace-id: [0-9a-f]{32}\r\n", text)) == text.count(b"candela-trace-id:") == 1


def test_answers_are_not_stored(gateway: Gateway) -> None:
    gateway.probe.on("Generate", lambda _, __: iter([gateway.event(seq=1, delta="a")]))
    for path in ("/v1/probes:echo", "/v1/probes:generate"):
        assert call(gateway.port, "POST", path, {"text": "a"}).headers["cache-control"] == "no-store"
    assert call(gateway.port, "GET", "/healthz").headers["cache-control"] == "no-store"
    assert "max-age" in call(gateway.port, "GET", "/openapi.json").headers["cache-control"]


def test_answers_say_little_about_the_inside(gateway: Gateway) -> None:
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"})
    assert answer.headers["server"] == "candela"
    assert not [name for name in answer.headers if name.startswith("x-")]


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:80", "https://localhost"]
)
def test_preflight(gateway: Gateway, origin: str) -> None:
    headers = {
        "origin": origin,
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization",
    }
    for path in ("/v1/users/me", "/v1/probes:generate", "/v1/nothing"):
        answer = call(gateway.port, "OPTIONS", path, headers=headers)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    assert gateway.probe.seen == gateway.user.seen == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://evil-localhost",
        "null",
        "http://localhost:3000.evil",
    ],
)
def test_foreign_origin(gateway: Gateway, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "GET"}
    assert "access-control-allow-origin" not in call(gateway.port, "OPTIONS", "/v1/users/me", headers=headers).headers
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, {"origin": origin})
    assert "access-control-allow-origin" not in answer.headers
    assert gateway.user.seen == []


def test_errors_are_readable_for_browsers(gateway: Gateway) -> None:
    origin = "http://localhost:3000"
    refused = call(gateway.port, "GET", "/v1/probes/a", headers={"origin": origin})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, origin)
    assert "candela-trace-id" in refused.headers["access-control-expose-headers"]
    unknown = call(gateway.port, "GET", "/v1/nothing", headers={"origin": origin})
    assert (unknown.status, unknown.headers["access-control-allow-origin"]) == (404, "*")


@pytest.mark.parametrize(("accepted", "used"), [("gzip", "gzip"), ("br", "br"), ("gzip, br", "br"), ("identity", None)])
def test_compression(gateway: Gateway, accepted: str, used: str | None) -> None:
    gateway.probe.on("Echo", lambda request, _: gateway.reply(text=request.text * 5000))
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, {"accept-encoding": accepted})
    assert answer.status == 200
    assert answer.headers.get("content-encoding") == used
    if used == "gzip":
        assert b"a" * 5000 in gzip.decompress(answer.body)
    if used:
        assert len(answer.body) < 500
        assert "accept-encoding" in answer.headers["vary"].lower()


def test_small_answers_are_not_compressed(gateway: Gateway) -> None:
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, {"accept-encoding": "gzip, br"})
    assert "content-encoding" not in answer.headers


def test_documents(gateway: Gateway) -> None:
    openapi = call(gateway.port, "GET", "/openapi.json")
    assert (openapi.status, openapi.headers["content-type"]) == (200, "application/json")
    assert openapi.json == {"openapi": "3.1.0"}
    descriptors = call(gateway.port, "GET", "/candela.binpb")
    assert descriptors.headers["content-type"] == "application/octet-stream"
    assert descriptors.body == gateway.envoy.config.descriptor_set.read_bytes()


def test_json_is_protojson(gateway: Gateway) -> None:
    gateway.probe.on("Echo", lambda _, __: gateway.reply(total_bytes=2**60, mood=1))
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"})
    assert answer.json == {"text": "", "count": 0, "mood": "MOOD_GOOD", "totalBytes": str(2**60), "items": []}


def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    gateway.probe.on("Echo", lambda request, _: gateway.reply(text=request.text))
    one = b'POST /v1/probes:echo HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n{"text":"1"}'
    answer = send_raw(gateway.port, one + one.replace(b'"1"', b'"2"'))
    assert answer.json["text"] == "1"
