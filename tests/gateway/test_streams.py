"""Streams as JSON: server-sent events, one at a time, and what happens when they fail."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.gateway.backend import refuse
from tests.gateway.gateway import Gateway
from tests.gateway.http import HOST, call


def test_events(gateway: Gateway) -> None:
    deltas = ["a", 'a "quote"', "two\nlines", "图片"]
    gateway.probe.on("Generate", lambda _, __: (gateway.event(seq=n, delta=d) for n, d in enumerate(deltas)))
    answer = call(gateway.port, "POST", "/v1/probes:generate", {"text": "a"}, {"accept-encoding": "gzip, br"})
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert "content-encoding" not in answer.headers
    events = answer.body.decode().split("\n\n")
    assert events.pop() == ""
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    assert [json.loads(event.removeprefix("data: ")) for event in events] == [
        {"seq": number, "delta": delta} for number, delta in enumerate(deltas)
    ]


def test_get_stream(gateway: Gateway) -> None:
    gateway.probe.on("Watch", lambda request, _: iter([gateway.event(seq=1, delta=request.name)]))
    answer = call(gateway.port, "GET", "/v1/probes/7:watch", headers=gateway.issuer.bearer())
    assert answer.body == b'data: {"seq":1,"delta":"probes/7"}\n\n'


def test_each_event_arrives_when_it_is_sent(gateway: Gateway) -> None:
    def generate(_: Any, __: grpc.ServicerContext) -> Iterator[Any]:
        yield gateway.event(seq=1, delta="first")
        assert gateway.probe.released.wait(10)
        yield gateway.event(seq=2, delta="second")

    gateway.probe.released.clear()
    gateway.probe.on("Generate", generate)
    connection = http.client.HTTPConnection(HOST, gateway.port, timeout=10)
    try:
        connection.request("POST", "/v1/probes:generate", b"{}", {"content-type": "application/json"})
        response = connection.getresponse()
        assert b"first" in response.readline()
        gateway.probe.released.set()
        assert b"second" in response.read()
    finally:
        gateway.probe.released.clear()
        connection.close()


def test_caller_that_leaves_stops_the_work(gateway: Gateway) -> None:
    def generate(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(gateway.probe.released.set)
        yield gateway.event(seq=1, delta="a")
        gateway.probe.released.wait(10)

    gateway.probe.released.clear()
    gateway.probe.on("Generate", generate)
    connection = http.client.HTTPConnection(HOST, gateway.port, timeout=10)
    connection.request("POST", "/v1/probes:generate", b"{}", {"content-type": "application/json"})
    response = connection.getresponse()
    assert response.readline()
    response.close()
    connection.close()
    assert gateway.probe.released.wait(5)
    gateway.probe.released.clear()


@pytest.mark.parametrize(
    ("code", "reason", "http_status"),
    [(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", 429), (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", 404)],
)
def test_failure_before_the_first_message_is_an_error(
    gateway: Gateway, code: grpc.StatusCode, reason: str, http_status: int
) -> None:
    gateway.probe.on("Generate", refuse(code, reason))
    answer = call(gateway.port, "POST", "/v1/probes:generate", {"text": "a"})
    assert (answer.status, answer.info["reason"]) == (http_status, reason)
    assert answer.headers["content-type"] == "application/json"


def test_failure_after_the_first_message_ends_the_stream(gateway: Gateway) -> None:
    """The status is lost: this is why every stream ends with an event of its own that says how it ended."""

    def generate(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield gateway.event(seq=1, delta="a")
        refuse(grpc.StatusCode.INTERNAL, "INTERNAL")(None, context)

    gateway.probe.on("Generate", generate)
    answer = call(gateway.port, "POST", "/v1/probes:generate", {"text": "a"})
    assert (answer.status, answer.body) == (200, b'data: {"seq":1,"delta":"a"}\n\n')


def test_malformed_body_of_a_stream(gateway: Gateway) -> None:
    answer = call(gateway.port, "POST", "/v1/probes:generate", b"{")
    assert (answer.status, answer.info["reason"]) == (400, "MALFORMED_BODY")


def test_empty_stream(gateway: Gateway) -> None:
    answer = call(gateway.port, "POST", "/v1/probes:generate", {"text": "a"})
    assert (answer.status, answer.body) == (200, b"")
