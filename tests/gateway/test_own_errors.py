"""What the gateway refuses by itself: every class of error in the one shape."""

import re

import pytest

from gateway_envoy.filters.scripts import read
from gateway_envoy.limits import Limits
from gateway_envoy.local_replies import configuration
from tests.gateway.gateway import Gateway, Workshop
from tests.gateway.http import Answer, call


def check(answer: Answer, http: int, status: str, reason: str) -> dict[str, str]:
    """Asserts the shape of an error and returns its metadata."""
    assert answer.status == http
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.error) == {"code", "status", "message", "details"}
    assert answer.error["code"] == http
    assert answer.error["status"] == status
    assert answer.error["message"]
    assert answer.info["reason"] == reason
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["candela-trace-id"])
    assert "candela-reply" not in answer.headers
    metadata: dict[str, str] = answer.info["metadata"]
    return metadata


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/nothing", "/v1/users/", "/V1/users", "/v1/users/a/b", "/v1/users/me:x"]
)
def test_unknown_path(gateway: Gateway, path: str) -> None:
    check(call(gateway.port, "GET", path), 404, "NOT_FOUND", "PATH_NOT_FOUND")


def test_path_of_a_server_that_is_not_deployed(gateway: Gateway) -> None:
    check(call(gateway.port, "GET", "/v1/balance"), 404, "NOT_FOUND", "PATH_NOT_FOUND")


def test_method_for_services_only_has_no_path(gateway: Gateway) -> None:
    check(call(gateway.port, "POST", "/v1/probes:inside", {}), 404, "NOT_FOUND", "PATH_NOT_FOUND")
    assert gateway.probe.seen == []


def test_grpc_path_is_no_json_path(gateway: Gateway) -> None:
    path = "/candela.probe.v1.ProbeService/Echo"
    check(call(gateway.port, "POST", path, {"text": "a"}), 404, "NOT_FOUND", "PATH_NOT_FOUND")


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("GET", "/v1/probes:echo", "POST"),
        ("PUT", "/v1/users/me", "DELETE, GET, PATCH"),
        ("HEAD", "/v1/users/me", "DELETE, GET, PATCH"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/openapi.json", "GET"),
        ("OPTIONS", "/v1/users", "POST"),
    ],
)
def test_wrong_verb(gateway: Gateway, verb: str, path: str, allowed: str) -> None:
    answer = call(gateway.port, verb, path)
    assert set(allowed.split(", ")) <= set(answer.headers["allow"].split(", "))
    if verb == "HEAD":
        assert (answer.status, answer.body) == (405, b"")
    else:
        assert check(answer, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED") == {"allow": answer.headers["allow"]}


def test_unknown_query_parameter(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", "/v1/probes/a?page_sice=3", headers=gateway.issuer.bearer())
    assert check(answer, 400, "INVALID_ARGUMENT", "UNKNOWN_QUERY_PARAMETER") == {"parameter": "page_sice"}
    assert gateway.probe.seen == []


def test_unknown_query_parameter_with_quotes_stays_json(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", "/v1/probes/a?x%22%5C=3", headers=gateway.issuer.bearer())
    check(answer, 400, "INVALID_ARGUMENT", "UNKNOWN_QUERY_PARAMETER")


def test_query_value_of_a_wrong_type(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", "/v1/probes/a?page_size=many", headers=gateway.issuer.bearer())
    check(answer, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"text": ',
        b"nonsense",
        b'"a string"',
        b"[1, 2]",
        b'{"count": "many"}',
        b'{"count": 1e400}',
        b'{"text": {"a": 1}}',
        b'{"inner": "text"}',
        b'{"text": "\xff\xfe"}',
        b'{"text": "a"} trailing',
        b'{"inner":' * 10_000 + b"{}" + b"}" * 10_000,
        b"[" * 10_000,
    ],
    ids=lambda body: str(body[:20]),
)
def test_malformed_body(gateway: Gateway, body: bytes) -> None:
    check(call(gateway.port, "POST", "/v1/probes:echo", body), 400, "INVALID_ARGUMENT", "MALFORMED_BODY")
    assert gateway.probe.seen == []


def test_nesting_that_is_allowed(gateway: Gateway) -> None:
    body = b'{"inner":' * 60 + b"{}" + b"}" * 60
    assert call(gateway.port, "POST", "/v1/probes:echo", body).status == 200


def test_file_that_is_no_base64(gateway: Gateway) -> None:
    answer = call(gateway.port, "POST", "/v1/probes:upload", {"content": "***"})
    check(answer, 400, "INVALID_ARGUMENT", "MALFORMED_BODY")


def test_token_missing(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", "/v1/probes/a")
    check(answer, 401, "UNAUTHENTICATED", "TOKEN_MISSING")
    assert answer.headers["www-authenticate"] == 'Bearer realm="candela"'


def test_body_that_says_it_is_too_large_is_not_read(gateway: Gateway) -> None:
    headers = {"content-length": str(Limits().file_body + 1)}
    answer = call(gateway.port, "POST", "/v1/probes:upload", None, headers)
    assert check(answer, 413, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE") == {"limit_bytes": str(Limits().file_body)}


def test_too_large_for_a_method_without_files(gateway: Gateway) -> None:
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a" * (Limits().body + 1)})
    assert check(answer, 413, "RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE") == {"limit_bytes": str(Limits().body)}
    assert gateway.probe.seen == []


def test_openai_paths_have_their_own_shape(gateway: Gateway) -> None:
    for verb, path, http, code in (
        ("GET", "/openai/v1/nothing", 404, "path_not_found"),
        ("GET", "/openai/v1/completions", 405, "method_not_allowed"),
    ):
        answer = call(gateway.port, verb, path)
        assert answer.status == http
        assert answer.error["code"] == code
        assert answer.error["type"] == "invalid_request_error"
        assert answer.error["param"] is None
        assert set(answer.error) == {"message", "type", "param", "code"}
    answer = call(gateway.port, "POST", "/openai/v1/completions", b"{")
    assert (answer.status, answer.error["code"]) == (400, "malformed_body")


def test_every_reason_is_in_the_contract(workshop: Workshop) -> None:
    enum = workshop.messages.pool.FindEnumTypeByName("candela.error.v1.ErrorReason")
    known = {value.name.removeprefix("ERROR_REASON_") for value in enum.values}
    script = read("errors.lua")
    used = set(re.findall(r'reason = "([A-Z_]+)"', script)) | set(
        re.findall(r'"reason":"([A-Z_]+)"', read("health.lua"))
    )
    used |= set(re.findall(r'"([A-Z_]+)"', script.partition("local REASONS = {")[2].partition("}")[0]))
    used |= set(re.findall(r"([A-Z_]+) = \"4", script))
    used |= set(re.findall(r"'reason': '([A-Z_]+)'", str(configuration())))
    assert len(used) > 15
    assert used <= known
