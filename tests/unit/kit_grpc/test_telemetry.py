"""Which spans are recorded, and that a receiver that is down harms nobody."""

import logging
import time
from concurrent import futures
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from observability.telemetry import Telemetry, start_telemetry
from services.kit.pipeline.methods import Methods
from services.kit.pipeline.telemetry import Observation
from tests.support.eventually import eventually, eventually_sync
from tests.unit.kit_grpc.shapes import attributes, ids

INFO = Methods().get("/candela.user.v1.UserService/GetUser")
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED.removesuffix("01") + "00"


class Recorded:
    def __init__(self, ratio: float) -> None:
        self.exporter = InMemorySpanExporter()
        self.telemetry: Telemetry = start_telemetry("x", ratio=ratio, processors=[SimpleSpanProcessor(self.exporter)])

    async def after(self, code: grpc.StatusCode, **headers: str) -> list[Any]:
        """Return the spans recorded for a call that ends with `code`."""
        self.exporter.clear()
        seen = Observation(self.telemetry.tracer, INFO, headers)
        self.trace_id = seen.trace_id
        seen.finish(code)
        await eventually(lambda: seen.reported)
        return list(self.exporter.get_finished_spans())


async def test_sampling_follows_the_ratio_and_the_callers_decision() -> None:
    assert len(await Recorded(1.0).after(grpc.StatusCode.OK)) == 1
    assert await Recorded(0.0).after(grpc.StatusCode.OK) == []
    assert len(await Recorded(0.0).after(grpc.StatusCode.OK, traceparent=SAMPLED)) == 1
    assert await Recorded(1.0).after(grpc.StatusCode.OK, traceparent=NOT_SAMPLED) == []


async def test_a_call_that_failed_by_us_is_recorded_always() -> None:
    recorded = Recorded(0.0)
    (span,) = await recorded.after(grpc.StatusCode.INTERNAL)
    assert ids(span)[0] == recorded.trace_id  # the id that the caller and the log have
    assert attributes(span)["rpc.response.status_code"] == "INTERNAL"
    assert span.status.status_code.name == "ERROR"
    (span,) = await recorded.after(grpc.StatusCode.INTERNAL, traceparent=NOT_SAMPLED)
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert await recorded.after(grpc.StatusCode.NOT_FOUND) == []


async def test_a_callers_mistake_is_no_error_of_the_span() -> None:
    (span,) = await Recorded(1.0).after(grpc.StatusCode.NOT_FOUND)
    assert span.status.status_code.name == "UNSET"
    assert attributes(span)["error.type"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", "00-0-0-00", "ff-" + SAMPLED[3:], "00-" + "0" * 32 + SAMPLED[35:]]
)
async def test_a_damaged_traceparent_begins_a_new_trace(traceparent: str) -> None:
    (span,) = await Recorded(1.0).after(grpc.StatusCode.OK, traceparent=traceparent)
    assert span.parent is None


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.received: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:
        self.received.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()


def test_spans_arrive_soon_with_the_services_name() -> None:
    receiver = Receiver()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
    register(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    telemetry = start_telemetry("recognition", endpoint=f"127.0.0.1:{port}")
    begun = time.monotonic()
    telemetry.tracer.start_span("x").end()
    eventually_sync(lambda: receiver.received)
    assert time.monotonic() - begun < 3  # half a second, on a machine with nothing else to do
    telemetry.close()
    server.stop(None).wait()
    resource = {
        item.key: item.value.string_value for item in receiver.received[0].resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "recognition"
    assert resource["service.namespace"] == "candela"


def test_a_receiver_that_is_down_is_met_with_silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    telemetry = start_telemetry("x", endpoint="127.0.0.1:9")
    for _ in range(100):
        telemetry.tracer.start_span("x").end()
    begun = time.monotonic()
    telemetry.close()
    assert time.monotonic() - begun < 10
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
