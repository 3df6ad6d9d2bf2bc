"""The check that the other suites hold every answer against can fail: each way to differ from the document is found."""

import json
from typing import Any

import httpx
import pytest
from google.protobuf import json_format

from candela.user.v1 import notification_service_pb2, user_pb2
from tests.support.published_schema import PublishedSchema, UnpublishedReplyError, checked, checked_event, published

TRACE = {"candela-trace-id": "0" * 32}
USER = json_format.MessageToDict(user_pb2.User(name="users/1"), always_print_fields_with_no_presence=True)


def error(status: int, code: str, reason: str) -> dict[str, Any]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "candela.dev"}
    return {"error": {"code": status, "status": code, "message": "no", "details": [info | {"metadata": {}}]}}


def problems(
    method: str,
    path: str,
    status: int,
    value: Any,
    headers: dict[str, str] | None = None,
    kind: str = "application/json",
) -> list[str]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return published().problems(method, path, status, {"content-type": kind} | TRACE | (headers or {}), body)


NOT_FOUND = error(404, "NOT_FOUND", "NOT_FOUND")
NO_PATH = error(404, "NOT_FOUND", "PATH_NOT_FOUND")
WRONG_VERB = error(405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED")
OPENAI = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "path_not_found"}}


def test_answers_that_the_document_tells_of_are_fine() -> None:
    assert problems("GET", "/v1/users/me", 200, USER) == []
    assert problems("GET", "/v1/users/me", 404, NOT_FOUND) == []
    assert problems("GET", "/v1/nowhere", 404, NO_PATH) == []
    assert problems("PUT", "/v1/users", 405, WRONG_VERB, {"allow": "GET, POST"}) == []
    assert problems("GET", "/openai/v1/nowhere", 404, OPENAI) == []
    assert problems("GET", "/healthz", 200, {"status": "SERVING"}) == []
    assert problems("GET", "/docs", 200, b"<!doctype html>", kind="text/html; charset=utf-8") == []


@pytest.mark.parametrize(
    ("method", "path", "status", "value"),
    [
        pytest.param("GET", "/v1/users/me", 200, {k: v for k, v in USER.items() if k != "plan"}, id="field gone"),
        pytest.param("GET", "/v1/users/me", 200, USER | {"nickname": "ada"}, id="field renamed or new"),
        pytest.param("GET", "/v1/users/me", 200, USER | {"emailVerified": "no"}, id="field of another type"),
        pytest.param("GET", "/v1/users/me", 200, b"{", id="no json"),
        pytest.param("GET", "/v1/users/me", 201, USER, id="status of a success"),
        pytest.param("GET", "/v1/sessions", 404, NOT_FOUND, id="status of an error"),
        pytest.param("GET", "/v1/users/me", 404, {"error": NOT_FOUND["error"] | {"code": 400}}, id="code in the body"),
        pytest.param("GET", "/v1/users/me", 404, {"code": 5, "message": "no", "details": []}, id="another error shape"),
        pytest.param("GET", "/v1/users/me", 404, OPENAI, id="OpenAI's shape on our path"),
        pytest.param("GET", "/openai/v1/nowhere", 404, NO_PATH, id="our shape on OpenAI's path"),
        pytest.param("GET", "/v1/nowhere", 200, {}, id="a path that is not there"),
        pytest.param("PUT", "/v1/users", 404, NO_PATH, id="404 for a verb"),
        pytest.param("GET", "/v1/nowhere", 405, WRONG_VERB, id="405 for a path"),
    ],
)
def test_what_the_document_does_not_tell_of_is_found(method: str, path: str, status: int, value: Any) -> None:
    assert problems(method, path, status, value)


def test_headers_and_media_types_are_looked_at() -> None:
    assert problems("GET", "/v1/users/me", 200, USER, {"candela-trace-id": "-"})
    assert published().problems(
        "GET", "/v1/users/me", 200, {"content-type": "application/json"}, json.dumps(USER).encode()
    )
    assert problems("PUT", "/v1/users", 405, WRONG_VERB, {"allow": "everything"})
    assert problems("GET", "/v1/users/me", 200, USER, kind="text/html")
    assert problems("GET", "/", 307, b"a body", {"location": "/docs"})
    assert problems("GET", "/", 307, b"", {"location": "https://example.com"})


def test_the_hook_raises() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=USER if request.url.path == "/v1/users/me" else {}, headers=TRACE)

    with httpx.Client(
        transport=httpx.MockTransport(answer), base_url="http://mesh.test", event_hooks={"response": [checked]}
    ) as client:
        assert client.get("/v1/users/me").json() == USER
        with pytest.raises(UnpublishedReplyError, match="sessions"):
            client.get("/v1/sessions")


def test_events_of_a_stream_are_looked_at(whole: dict[str, Any]) -> None:
    def found(path: str, event: dict[str, Any]) -> list[str]:
        return PublishedSchema(whole).event_problems("GET", path, event)

    printed = json_format.MessageToDict(
        notification_service_pb2.WatchNotificationsResponse(), always_print_fields_with_no_presence=True
    )
    assert found("/v1/notifications:watch", printed) == []
    assert found("/v1/notifications:watch", printed | {"somethingElse": 1})
    assert found("/v1/sessions", printed) == ["the document tells of no stream"]
    with pytest.raises(UnpublishedReplyError, match="no stream"):
        checked_event("GET", "/v1/sessions", {})
