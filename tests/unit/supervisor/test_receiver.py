"""The trace receiver as exporters meet it, friendly and hostile."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from supervisor.traces.ingest import TraceIngest
from supervisor.traces.journal import JournalWriter
from supervisor.traces.receiver import TraceReceiver
from supervisor.traces.store import StoredTraces
from tests.unit.supervisor.spans import request, span

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    receiver = TraceReceiver(TraceIngest(JournalWriter(tmp_path)), 0)
    yield await receiver.start()
    await receiver.stop()


async def export(port: int, raw: bytes) -> ExportTraceServiceResponse:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_EXPORT)
        return ExportTraceServiceResponse.FromString(await call(raw, timeout=5))


async def test_spans_arrive(port: int, tmp_path: Path) -> None:
    assert await export(port, request(span(1, 1))) == ExportTraceServiceResponse()
    assert len(StoredTraces(tmp_path).refresh()) == 1


async def test_the_sender_learns_what_was_refused(port: int) -> None:
    wrong = span(1, 1)
    wrong.trace_id = b"short"
    reply = await export(port, request(wrong, span(1, 2)))
    assert reply.partial_success.rejected_spans == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\xff" * 100, grpc.StatusCode.INVALID_ARGUMENT),
        (b"\x00" * (5 * 1024 * 1024), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_hostile_bytes_are_refused_and_the_next_request_served(
    port: int, tmp_path: Path, raw: bytes, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(port, raw)
    assert caught.value.code() is code
    await export(port, request(span(1, 1)))
    assert len(StoredTraces(tmp_path).refresh()) == 1


async def test_a_taken_port_is_an_error_and_not_a_share(port: int, tmp_path: Path) -> None:
    second = TraceReceiver(TraceIngest(JournalWriter(tmp_path)), port)
    with pytest.raises(OSError, match=f"cannot listen on port {port}"):
        await second.start()
