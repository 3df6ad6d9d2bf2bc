"""Servers that die, hang and come back; health; what the internal listener does."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from gateway_envoy.limits import Limits
from tests.gateway.backend import refuse
from tests.gateway.gateway import Gateway, Workshop
from tests.gateway.http import Answer, RawConnection, call
from tests.gateway.rpc import code_of, reason_of, unary
from tests.support.eventually import eventually_sync

HASTY = Limits(
    unary=0.6, unary_slack=0.2, upload=0.6, stream_idle=0.6, request_headers=0.4, connection_idle=0.5,
    health_interval=0.1, health_interval_down=0.05,
)  # fmt: skip


@pytest.fixture(scope="module")
def hasty_gateway(workshop: Workshop) -> Iterator[Gateway]:
    with workshop.gateway("user", "probe", limits=HASTY) as gateway:
        yield gateway


@pytest.fixture
def hasty(hasty_gateway: Gateway) -> Iterator[Gateway]:
    """A gateway with short times, its backends back to their first behaviour."""
    hasty_gateway.reset()
    hasty_gateway.probe.released.clear()
    yield hasty_gateway
    hasty_gateway.probe.released.set()


def echo(gateway: Gateway, **headers: str) -> Answer:
    return call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, headers)


def test_server_that_is_killed_and_back(hasty: Gateway) -> None:
    assert echo(hasty).status == 200
    hasty.probe.stop()
    answer = echo(hasty)
    assert (answer.status, answer.info["reason"]) == (503, "UNAVAILABLE")
    assert answer.error["status"] == "UNAVAILABLE"
    assert answer.headers["retry-after"] == "1"
    assert answer.detail("RetryInfo")["retryDelay"] == "1s"
    with grpc.insecure_channel(hasty.envoy.target) as channel, pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo")
    assert code_of(caught.value) is grpc.StatusCode.UNAVAILABLE
    assert reason_of(caught.value) == "UNAVAILABLE"

    health = health_of(hasty, 503)
    assert health.info["metadata"] == {"services": "probe"}
    assert "probe" in health.error["message"]

    hasty.probe.start()
    eventually_sync(lambda: echo(hasty).status == 200, timeout=2)
    assert health_of(hasty, 200).json == {"status": "SERVING"}


def health_of(gateway: Gateway, status: int) -> Answer:
    """Waits until the health check has a status and returns its answer."""
    answers: list[Answer] = []

    def asked() -> bool:
        answers.append(call(gateway.port, "GET", "/health"))
        return answers[-1].status == status

    eventually_sync(asked)
    return answers[-1]


def test_other_services_do_not_mind(hasty: Gateway) -> None:
    hasty.probe.stop()
    assert call(hasty.port, "POST", "/v1/sessions", {"identifier": "a"}).status == 200
    hasty.probe.start()
    eventually_sync(lambda: echo(hasty).status == 200)


def test_service_that_is_late(hasty: Gateway) -> None:
    hasty.probe.on("Echo", lambda _, __: hasty.probe.released.wait(5))
    answer = echo(hasty)
    assert (answer.status, answer.info["reason"]) == (504, "DEADLINE_EXCEEDED")
    assert answer.error["status"] == "DEADLINE_EXCEEDED"


def test_caller_that_allows_more_than_the_gateway(hasty: Gateway) -> None:
    """The service believes it has 5 s; the gateway's own limit holds."""
    hasty.probe.on("Echo", lambda _, __: hasty.probe.released.wait(5))
    answer = echo(hasty, **{"grpc-timeout": "5S"})
    assert (answer.status, answer.info["reason"]) == (504, "DEADLINE_EXCEEDED")
    with grpc.insecure_channel(hasty.envoy.target) as channel, pytest.raises(grpc.RpcError) as caught:
        unary(channel, "Echo")
    assert code_of(caught.value) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(caught.value) == "DEADLINE_EXCEEDED"


def test_caller_that_allows_less(hasty: Gateway) -> None:
    left: list[float] = []

    def behave(_: Any, context: grpc.ServicerContext) -> None:
        left.append(context.time_remaining())
        hasty.probe.released.wait(5)

    hasty.probe.on("Echo", behave)
    assert echo(hasty, **{"grpc-timeout": "100m"}).status == 504
    assert left[0] <= 0.1


def test_stream_outlives_the_time_for_one_answer_and_ends_when_silent(hasty: Gateway) -> None:
    def generate(_: Any, __: grpc.ServicerContext) -> Iterator[Any]:
        for number in range(4):
            yield hasty.event(seq=number, delta="x")
            hasty.probe.released.wait(0.3)
        hasty.probe.released.wait(5)

    hasty.probe.on("Generate", generate)
    body = b"POST /v1/probes:generate HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    with RawConnection(hasty.port) as connection:
        connection.send(body)
        text = connection.until_closed()
    assert text.count(b"data: ") == 4


def test_slow_headers(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nhost: ")
        answer = connection.answer()
    assert (answer.status, answer.info["reason"]) == (408, "DEADLINE_EXCEEDED")


def test_slow_headers_drop_by_drop(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\n")

        def closed() -> bool:
            try:
                connection.send(b"a: b\r\n")
            except OSError:
                return True
            return False

        eventually_sync(closed, timeout=5)


def test_slow_body(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        connection.send(b"POST /v1/probes:echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{")
        answer = connection.answer()
    assert answer.status in (408, 504)
    assert answer.info["reason"] == "DEADLINE_EXCEEDED"


def test_slow_body_drop_by_drop(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        connection.send(b"POST /v1/probes:echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n{")

        def closed() -> bool:
            try:
                connection.send(b" ")
            except OSError:
                return True
            return False

        eventually_sync(closed, timeout=6)
    assert hasty.probe.seen == []


def test_silent_connection_is_closed(hasty: Gateway) -> None:
    with RawConnection(hasty.port) as connection:
        assert connection.until_closed() == b""


def test_lost_answer_is_asked_for_again_only_when_that_is_harmless(hasty: Gateway) -> None:
    def once(_: Any, context: grpc.ServicerContext) -> Any:
        if len(hasty.probe.seen) == 1:
            refuse(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")(None, context)
        return hasty.reply()

    hasty.probe.on("Echo", once)
    assert echo(hasty).status == 200
    assert len(hasty.probe.seen) == 2
    hasty.reset()
    hasty.probe.on("Create", once)
    assert call(hasty.port, "POST", "/v1/probes", {"text": "a"}).status == 503
    assert len(hasty.probe.seen) == 1


def test_drain(workshop: Workshop) -> None:
    """Draining ends health and closes connections gracefully; what is in flight finishes."""
    with workshop.gateway("probe") as gateway:

        def generate(_: Any, __: grpc.ServicerContext) -> Iterator[Any]:
            yield gateway.event(seq=1, delta="first")
            assert gateway.probe.released.wait(10)
            yield gateway.event(seq=2, delta="last")

        gateway.probe.on("Generate", generate)
        with RawConnection(gateway.port) as connection:
            connection.send(b"POST /v1/probes:generate HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
            active = "/stats?filter=%5Ehttp%5C.(edge%7Cinternal).*downstream_rq_active$"
            eventually_sync(lambda: "http.edge.downstream_rq_active: 1" in gateway.envoy.admin(active))
            gateway.envoy.admin("/healthcheck/fail", "POST")
            health = health_of(gateway, 503)
            assert health.info["metadata"] == {"services": "gateway"}
            gateway.envoy.admin("/drain_listeners?graceful", "POST")
            gateway.probe.released.set()
            assert b"last" in connection.answer().body
        eventually_sync(lambda: "http.edge.downstream_rq_active: 0" in gateway.envoy.admin(active))


def test_more_connections_than_allowed(workshop: Workshop) -> None:
    with workshop.gateway("probe", limits=Limits(connections=3)) as gateway, ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(RawConnection(gateway.port))
            connection.send(b"POST /v1/probes:echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}")
            assert connection.answer().status == 200
        assert stack.enter_context(RawConnection(gateway.port)).until_closed() == b""
    assert gateway.probe.seen


def test_internal_listener(gateway: Gateway) -> None:
    """Services reach services, also methods that are theirs alone; identity and tokens are left alone."""
    metadata = (("authorization", "Bearer service-token"), ("x-anything", "kept"))
    with grpc.insecure_channel(gateway.envoy.internal) as channel:
        gateway.probe.on("Inside", lambda request, _: gateway.reply(text=request.text))
        answer, _ = unary(channel, "Inside", gateway.echo(text="a"), metadata=metadata)
        assert answer == gateway.reply(text="a").SerializeToString()
        assert dict(metadata).items() <= gateway.probe.last.metadata.items()
        with pytest.raises(grpc.RpcError) as caught:
            unary(channel, "/candela.payment.v1.BalanceService/GetBalance")
        assert code_of(caught.value) is grpc.StatusCode.UNIMPLEMENTED
    assert call(gateway.envoy.config.internal.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 404
