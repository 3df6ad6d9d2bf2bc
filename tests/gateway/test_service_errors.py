"""What services refuse: status, reason and details survive the way to JSON."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from tests.gateway.backend import refuse
from tests.gateway.gateway import Gateway
from tests.gateway.http import Answer, call


def echo(gateway: Gateway) -> Answer:
    return call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"})


@pytest.mark.parametrize(
    ("code", "reason", "http"),
    [
        (grpc.StatusCode.CANCELLED, "CANCELLED", 499),
        (grpc.StatusCode.UNKNOWN, "INTERNAL", 500),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", 400),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 504),
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", 404),
        (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", 409),
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", 403),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 429),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", 413),
        (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_TOO_LARGE", 413),
        (grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION", 400),
        (grpc.StatusCode.FAILED_PRECONDITION, "CREDITS_INSUFFICIENT", 400),
        (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", 409),
        (grpc.StatusCode.OUT_OF_RANGE, "INVALID_ARGUMENT", 400),
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", 501),
        (grpc.StatusCode.INTERNAL, "INTERNAL", 500),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", 503),
        (grpc.StatusCode.DATA_LOSS, "DATA_LOSS", 500),
        (grpc.StatusCode.UNAUTHENTICATED, "SESSION_REVOKED", 401),
    ],
)
def test_codes(gateway: Gateway, code: grpc.StatusCode, reason: str, http: int) -> None:
    gateway.probe.on("Echo", refuse(code, reason, "what is wrong", field="email"))
    answer = echo(gateway)
    assert answer.status == http
    assert answer.error["code"] == http
    assert answer.error["status"] == code.name
    assert answer.error["message"] == "what is wrong"
    assert (answer.info["reason"], answer.info["metadata"]) == (reason, {"field": "email"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["candela-trace-id"] != "of-the-service"
    assert len(answer.headers["candela-trace-id"]) == 32


def test_challenge_of_a_service(gateway: Gateway) -> None:
    gateway.probe.on("Echo", refuse(grpc.StatusCode.UNAUTHENTICATED, "SESSION_REVOKED"))
    assert echo(gateway).headers["www-authenticate"] == 'Bearer realm="candela", error="invalid_token"'


def test_violations_are_visible(gateway: Gateway) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="user.email", description='no "@"', reason="string.email"
    )
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    gateway.probe.on("Echo", refuse(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", 'a "quoted" \\ text', bad))
    answer = echo(gateway)
    assert answer.error["message"] == 'a "quoted" \\ text'
    (shown,) = answer.detail("BadRequest")["fieldViolations"]
    assert shown["field"] == "user.email"
    assert shown["description"] == 'no "@"'


@pytest.mark.parametrize(
    "message", ['x","details":[]}', 'x\\","details":[', '{"code":1}', "", "zeile\nzwei", "图片生成完成"]
)
def test_no_message_breaks_the_shape(gateway: Gateway, message: str) -> None:
    gateway.probe.on("Echo", refuse(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", message, field='","details":['))
    answer = echo(gateway)
    assert answer.error["message"] == message
    assert answer.info["metadata"] == {"field": '","details":['}


@pytest.mark.parametrize(
    ("delay", "header"), [(Duration(seconds=7), "7"), (Duration(seconds=1, nanos=200_000_000), "2")]
)
def test_retry_info_becomes_retry_after(gateway: Gateway, delay: Duration, header: str) -> None:
    info = error_details_pb2.RetryInfo(retry_delay=delay)
    gateway.probe.on("Echo", refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "LOGIN_THROTTLED", "later", info))
    answer = echo(gateway)
    assert answer.headers["retry-after"] == header
    assert answer.detail("RetryInfo")["retryDelay"]


def test_plain_status_gets_a_reason(gateway: Gateway) -> None:
    text = "nothing here: ü <\\\a>"
    gateway.probe.on("Echo", lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, text))
    answer = echo(gateway)
    assert (answer.status, answer.error["message"], answer.info["reason"]) == (404, text, "NOT_FOUND")


def test_text_of_a_crash_is_not_shown(gateway: Gateway) -> None:
    def crash(_: object, __: object) -> object:
        raise RuntimeError("secret of the house")

    gateway.probe.on("Echo", crash)
    answer = echo(gateway)
    assert (answer.status, answer.info["reason"]) == (500, "INTERNAL")
    assert b"secret" not in answer.body


def test_message_limit_of_grpc_itself_is_413(gateway: Gateway) -> None:
    text = "Received message larger than max (5 vs. 4)"
    gateway.probe.on("Echo", lambda _, context: context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text))
    answer = echo(gateway)
    assert (answer.status, answer.info["reason"]) == (413, "REQUEST_TOO_LARGE")


def test_details_of_an_unknown_type_do_not_empty_the_error(gateway: Gateway) -> None:
    def behave(_: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x05\x12\x02no\x1a\x08\n\x06x.dev/y"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")

    gateway.probe.on("Echo", behave)
    answer = echo(gateway)
    assert (answer.status, answer.info["reason"], answer.error["message"]) == (404, "NOT_FOUND", "no such thing")


def test_error_after_the_first_metadata(gateway: Gateway) -> None:
    """Of a unary call nothing is lost when its headers went ahead of the error."""

    def behave(request: object, context: grpc.ServicerContext) -> object:
        context.send_initial_metadata((("candela-trace-id", "of-the-service"),))
        return refuse(grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "read again")(request, context)

    gateway.probe.on("Echo", behave)
    answer = echo(gateway)
    assert (answer.status, answer.info["reason"], answer.error["message"]) == (409, "ETAG_MISMATCH", "read again")


def test_openai_shape(gateway: Gateway) -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="model", description="unknown")
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    for code, reason, http, kind in (
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", 400, "invalid_request_error"),
        (grpc.StatusCode.FAILED_PRECONDITION, "CREDITS_INSUFFICIENT", 402, "insufficient_quota"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", 429, "insufficient_quota"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 429, "rate_limit_error"),
        (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", 503, "server_error"),
    ):
        gateway.probe.on("Complete", refuse(code, reason, "no", bad))
        answer = call(gateway.port, "POST", "/openai/v1/completions", {"text": "a"})
        assert answer.status == http
        assert answer.error == {"message": "no", "type": kind, "param": "model", "code": reason.lower()}
