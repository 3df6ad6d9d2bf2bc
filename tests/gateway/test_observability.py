"""The access log and the spans: complete, and without secrets."""

import re
from typing import Any

import grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.gateway.backend import refuse
from tests.gateway.contract import PROBE
from tests.gateway.gateway import Gateway
from tests.gateway.http import Answer, call
from tests.gateway.rpc import unary
from tests.support.eventually import eventually_sync

SECRET = "s3cret-value"


def line_of(gateway: Gateway, answer: Answer) -> dict[str, Any]:
    """Returns the log line of an answer; Envoy writes it within its flush interval."""
    trace = answer.headers["candela-trace-id"]

    def find() -> dict[str, Any] | None:
        return next((line for line in gateway.envoy.access_log() if line["trace_id"] == trace), None)

    found = eventually_sync(find, timeout=15)
    assert found is not None
    return found


def spans_of(gateway: Gateway, answer: Answer) -> list[tuple[str, Span]]:
    """Waits for the spans of an answer's trace."""
    return eventually_sync(lambda: gateway.traces.of(answer.headers["candela-trace-id"]))


def test_line_of_a_json_call(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", "/v1/probes/a?page_size=3", headers=gateway.issuer.bearer(sub="user-7"))
    line = line_of(gateway, answer)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "gateway.edge", "GET /v1/probes/{name}")
    assert line["user_id"] == "user-7"
    assert re.fullmatch("[0-9a-f]{16}", line["span_id"])
    assert line["request_id"] == gateway.probe.last.metadata["x-request-id"]
    http = line["http"]
    assert (http["method"], http["path"], http["status"], http["grpc_status"]) == ("GET", "/v1/probes/a", 200, "OK")
    assert (http["upstream"], http["response_flags"], http["protocol"]) == ("probe", "-", "HTTP/1.1")
    assert http["duration_ms"] >= 0
    assert http["bytes_sent"] == len(answer.body)


def test_line_of_an_error(gateway: Gateway) -> None:
    gateway.probe.on("Echo", refuse(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"))
    http = line_of(gateway, call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}))["http"]
    assert (http["status"], http["grpc_status"]) == (409, "Aborted")
    http = line_of(gateway, call(gateway.port, "GET", "/v1/nothing"))["http"]
    assert (http["status"], http["path"], http["upstream"]) == (404, "/v1/nothing", None)


def test_line_of_a_grpc_call(gateway: Gateway) -> None:
    with grpc.insecure_channel(gateway.envoy.target) as channel:
        _, metadata = unary(channel, "Echo")
    answer = Answer(200, metadata, b"")
    http = line_of(gateway, answer)["http"]
    assert (http["path"], http["grpc_status"], http["protocol"]) == (f"/{PROBE}/Echo", "OK", "HTTP/2")


def test_no_secret_is_written(gateway: Gateway) -> None:
    token = gateway.issuer.token()
    headers = {"authorization": f"Bearer {token}", "cookie": SECRET, "referer": f"http://localhost/?{SECRET}"}
    traces = [
        call(gateway.port, "GET", f"/v1/probes/a?access_token={SECRET}", headers=headers),
        call(gateway.port, "GET", f"/v1/nothing?access_token={SECRET}", headers=headers),
        call(gateway.port, "POST", "/v1/probes:echo", {"text": SECRET}, headers),
        call(gateway.port, "GET", "/v1/probes/a", headers={"authorization": f"Bearer ck_{SECRET}"}),
    ]
    lines = [line_of(gateway, answer) for answer in traces]
    assert SECRET not in str(lines)
    assert token not in str(lines)
    for answer in traces:
        spans = spans_of(gateway, answer)
        assert SECRET not in str(spans)
        assert token not in str(spans)


def test_hostile_path_does_not_break_the_line(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", '/v1/"},{"level":"ERROR"')
    assert line_of(gateway, answer)["level"] == "INFO"


def test_every_refusal_has_a_span_and_probes_have_none(gateway: Gateway) -> None:
    refused = call(gateway.port, "GET", "/v1/probes/a")
    (span,) = spans_of(gateway, refused)
    assert span[1].name == "GET /v1/probes/{name}"
    assert {one.key: one.value.string_value for one in span[1].attributes}["http.status_code"] == "401"
    healthy = call(gateway.port, "GET", "/healthz")
    marker = call(gateway.port, "GET", "/v1/nothing")
    assert spans_of(gateway, marker)
    assert gateway.traces.of(healthy.headers["candela-trace-id"]) == []


def test_grpc_spans_are_named_by_method(gateway: Gateway) -> None:
    with grpc.insecure_channel(gateway.envoy.target) as channel:
        unary(channel, "Echo")
    eventually_sync(lambda: f"{PROBE}/Echo" in gateway.traces.names())
