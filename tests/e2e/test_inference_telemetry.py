"""What a real inference server tells of known traffic: metrics, statistics and traces, and that they agree."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client.parser import text_string_to_metric_families

from candela.inference.v1 import model_pb2
from candela.inference.v1.exchange_service_pb2 import Call, CallFrame, Reply
from candela.inference.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from candela.inference.v1.model_service_pb2 import GetModelStatisticsRequest, ListModelsRequest, LoadModelRequest
from candela.inference.v1.model_service_pb2_grpc import ModelServiceStub
from inference_server import names
from kserve import grpc_service_pb2 as oip
from kserve.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from supervisor.traces.store import SpanRecord, TraceStore
from tests.gateway.envoy import free_ports
from tests.support.child_process import stop
from tests.support.eventually import eventually_sync
from tests.support.grpc_server import MeshKeys

_ROOT = Path(__file__).parents[2]
_EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
_SAMPLED, _UNSAMPLED = "01", "00"


@contextmanager
def receiving(store: TraceStore) -> Iterator[int]:
    """Take spans in and give the port."""

    def export(raw: bytes, context: grpc.ServicerContext) -> bytes:
        store.add(raw)
        return ExportTraceServiceResponse().SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1))
    handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_EXPORT, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


@dataclass
class Serving:
    """A running inference server with models of tests, called as services of its mesh."""

    process: subprocess.Popen[bytes]
    channel: grpc.Channel
    page: str
    keys: MeshKeys
    spans: TraceStore
    trace_ids: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**6)))

    def metadata(self, caller: str = "recognition", *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        return (*self.keys.as_service(caller, "inference"), *more)

    def infer(self, model: str, values: Any, **options: Any) -> Any:
        """Begin a call and return its future."""
        options.setdefault("metadata", self.metadata())
        return GRPCInferenceServiceStub(self.channel).ModelInfer.future(
            request(model, values), **{"timeout": 30, **options}
        )

    def statistics(self, model: str) -> model_pb2.ModelStatistics:
        answer: model_pb2.ModelStatistics = ModelServiceStub(self.channel).GetModelStatistics(
            GetModelStatisticsRequest(name=model), metadata=self.metadata(), timeout=10
        )
        return answer

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return everything on the metrics page, by name and labels."""
        families = text_string_to_metric_families(httpx.get(self.page).text)
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}

    def metric(self, name: str, **labels: str) -> float:
        found = self.samples().items()
        return sum(value for (one, had), value in found if one == name and labels.items() <= dict(had).items())

    def in_flight(self) -> float:
        return self.metric("rpc_server_in_flight", service="inference.GRPCInferenceService")

    def traced(self, flags: str) -> tuple[str, tuple[str, str]]:
        """Return a new trace id and the metadata of a call in that trace."""
        trace_id = f"{next(self.trace_ids):032x}"
        return trace_id, ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-{flags}")

    def spans_of(self, trace_id: str) -> list[SpanRecord]:
        return [span for trace in self.spans.find(trace_id) for span in trace.spans.values()]


def request(model: str, values: Any) -> oip.ModelInferRequest:
    name = {"sleeper": "SECONDS"}.get(model, "X")
    rows = np.asarray(values, np.float32)
    tensor = oip.ModelInferRequest.InferInputTensor(name=name, datatype="FP32", shape=rows.shape)
    return oip.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[rows.tobytes()])


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("inference")
    keys, spans = MeshKeys(folder / "keys"), TraceStore()
    port, page = free_ports(2)
    with receiving(spans) as otlp:
        settings = {
            "CANDELA_DATA_DIR": str(folder),
            "CANDELA_LISTEN": f"127.0.0.1:{port}",
            "CANDELA_METRICS_PORT": str(page),
            "CANDELA_OTLP_ENDPOINT": f"127.0.0.1:{otlp}",
            "CANDELA_INFERENCE_MODELS": "",
            "PYTHONPATH": f"{_ROOT}:{_ROOT / 'clients/python/src'}",
            "PYTHONUTF8": "1",
        }
        # Without a preexec_fn nothing of gRPC, which has threads here already, runs between fork and exec.
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.tensor_models"],
                cwd=_ROOT,
                env={"PATH": os.environ["PATH"], **settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                running = Serving(process, channel, f"http://127.0.0.1:{page}/metrics", keys, spans)
                eventually_sync(lambda: answers(running), timeout=60)
                yield running
        finally:
            stop(process, [signal.SIGTERM])


def answers(serving: Serving) -> bool:
    assert serving.process.poll() is None, "the server ended"
    try:
        ModelServiceStub(serving.channel).ListModels(ListModelsRequest(), metadata=serving.metadata(), timeout=5)
    except grpc.RpcError:
        return False
    return True


def failure(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    code: grpc.StatusCode = caught.value.code()
    return code


def exchanged(serving: Serving, model: str, values: Any, milliseconds: int, traceparent: str = "") -> Reply:
    """Ask over Exchange with a deadline and return the reply."""
    call = Call(id=1, infer=request(model, values))
    call.context.timeout.FromMilliseconds(milliseconds)
    call.context.traceparent = traceparent
    ended = threading.Event()

    def frames() -> Iterator[CallFrame]:
        yield CallFrame(calls=[call])
        ended.wait(30)

    stream = ExchangeServiceStub(serving.channel).Exchange(frames(), metadata=serving.metadata(), timeout=30)
    try:
        return next(reply for frame in stream for reply in frame.replies if reply.last)
    finally:
        ended.set()
        stream.cancel()


@pytest.fixture
def double(serving: Serving) -> "Fresh":
    return Fresh(serving, "double")


@pytest.fixture
def sleeper(serving: Serving) -> "Fresh":
    return Fresh(serving, "sleeper")


class Fresh:
    """A model that was loaded anew: its statistics begin at zero; of the page's counters what came since counts."""

    def __init__(self, serving: Serving, model: str) -> None:
        self._serving = serving
        self._model = model
        loaded = ModelServiceStub(serving.channel).LoadModel(
            LoadModelRequest(name=model), metadata=serving.metadata(), timeout=30
        )
        self.name = f"{model}@{loaded.version}"
        self._before = serving.samples()

    def statistics(self) -> model_pb2.ModelStatistics:
        return self._serving.statistics(self._model)

    def counted(self, **wanted: int) -> bool:
        """Whether these outcomes were counted: answers leave before they are."""
        items = self.statistics().items
        assert {outcome: getattr(items, outcome) for outcome in wanted} == wanted
        return True

    def shown(self, name: str, **labels: str) -> float:
        """Return what the page shows more than when the model was loaded."""
        wanted = {"model": self.name, **labels}.items()
        grown = 0.0
        for (found, had), value in self._serving.samples().items():
            if found == name and wanted <= dict(had).items():
                grown += value - self._before.get((found, had), 0.0)
        return grown

    def page_agrees(self, had: model_pb2.ModelStatistics) -> None:
        for outcome in names.OUTCOMES:
            assert self.shown("inference_items_total", outcome=outcome) == getattr(had.items, outcome)
            assert self.shown("inference_tenant_items_total", outcome=outcome) == getattr(had.items, outcome)
        assert self.shown("inference_tenant_items_total", outcome="refused") == had.items.refused
        assert self.shown("inference_refusals_total") == sum(one.requests for one in had.refusals)
        assert self.shown("inference_batch_items_count") == had.batches == sum(one.batches for one in had.sizes)
        assert self.shown("inference_batch_items_sum") == sum(one.size * one.batches for one in had.sizes)
        assert self.shown("inference_queue_seconds_count") == had.queue.count
        computed = had.compute.total.ToNanoseconds() / 1e9
        assert self.shown("inference_compute_seconds_sum") == pytest.approx(computed)
        assert self.shown("inference_tenant_compute_seconds_total") == pytest.approx(computed)
        assert self._serving.metric("inference_waiting_items", model=self.name) == had.waiting_items
        assert self._serving.metric("inference_best_batch_items", model=self.name) == had.costs[0].best
        assert self._serving.metric("inference_model_ready", model=self.name) == 1


def test_items_that_ran_count_as_done_or_failed(serving: Serving, double: Fresh) -> None:
    assert list(serving.infer("double", [[1, 2, 3, 4]] * 8).result().outputs[0].shape) == [8, 4]
    assert failure(serving.infer("double", [[1, 2, 3, 4], [-1, 0, 0, 0]])) is grpc.StatusCode.INVALID_ARGUMENT
    eventually_sync(lambda: double.counted(done=9, failed=1, refused=0))
    had = double.statistics()
    assert [(one.size, one.batches) for one in had.sizes] == [(2, 1), (8, 1)]
    assert [(one.tenant, one.items.done, one.items.failed) for one in had.tenants] == [("service:recognition", 9, 1)]
    assert had.queue.count == 10
    assert [size.size for size in had.costs[0].sizes] == [2, 8]
    double.page_agrees(had)


def test_what_never_ran_counts_as_cancelled_expired_or_refused(serving: Serving, sleeper: Fresh) -> None:
    holding = serving.infer("sleeper", [[3.0]])
    eventually_sync(lambda: serving.in_flight() == 1)
    given_up = serving.infer("sleeper", [[0.0]] * 2)
    eventually_sync(lambda: sleeper.statistics().waiting_items == 2)
    whole_queue = serving.infer("sleeper", [[0.0]] * 4096, metadata=serving.metadata("payment"))
    assert failure(whole_queue) is grpc.StatusCode.RESOURCE_EXHAUSTED
    given_up.cancel()
    assert exchanged(serving, "sleeper", [[0.0]], 200).error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    eventually_sync(lambda: sleeper.counted(cancelled=2, expired=1, refused=4096, done=0))
    assert holding.result().outputs
    eventually_sync(lambda: sleeper.counted(cancelled=2, expired=1, refused=4096, done=1, failed=0))
    had = sleeper.statistics()
    assert [(one.reason, one.requests) for one in had.refusals] == [("queue_full", 1)]
    assert {one.tenant: one.items.refused for one in had.tenants} == {"service:payment": 4096, "service:recognition": 0}
    assert (had.batches, had.waiting_items, had.waiting_bytes) == (1, 0, 0)
    assert had.compute.total.ToNanoseconds() >= 3_000_000_000
    sleeper.page_agrees(had)


def test_a_sampled_request_has_its_batch_in_its_trace(serving: Serving) -> None:
    trace_id, parent = serving.traced(_SAMPLED)
    serving.infer("double", [[1, 2, 3, 4]], metadata=serving.metadata("recognition", parent)).result()
    eventually_sync(lambda: len(serving.spans_of(trace_id)) == 2, timeout=10)
    [call] = [span for span in serving.spans_of(trace_id) if span.name.endswith("/ModelInfer")]
    [batch] = [span for span in serving.spans_of(trace_id) if span.name == names.BATCH_SPAN]
    assert batch.parent_id == call.span_id
    assert [(link.trace_id, link.span_id) for link in batch.links] == [(trace_id, call.span_id)]
    assert call.start <= batch.start <= batch.end <= call.end
    assert batch.attributes[names.MODEL] == "double@2"
    assert (batch.attributes[names.BATCH_SIZE], batch.attributes[names.TENANTS]) == ("1", "1")
    assert int(batch.attributes[names.BEST_SIZE]) >= 1


def test_a_sampled_call_inside_an_exchange_has_its_batch_in_its_trace(serving: Serving) -> None:
    trace_id, (_, traceparent) = serving.traced(_SAMPLED)
    assert exchanged(serving, "double", [[1, 2, 3, 4]], 10_000, traceparent).infer.outputs
    eventually_sync(lambda: len(serving.spans_of(trace_id)) == 2, timeout=10)
    [batch] = [span for span in serving.spans_of(trace_id) if span.name == names.BATCH_SPAN]
    [item] = [span for span in serving.spans_of(trace_id) if span is not batch]
    assert batch.parent_id == item.span_id
    assert [link.span_id for link in batch.links] == [item.span_id]


def test_requests_that_share_a_batch_are_all_linked(serving: Serving, sleeper: Fresh) -> None:
    # Loaded anew: of a model that nobody knows anything about a batch takes all that waits.
    holding = serving.infer("sleeper", [[2.0]])
    eventually_sync(lambda: serving.in_flight() == 1)
    traced = [serving.traced(flags) for flags in (_SAMPLED, _UNSAMPLED, _SAMPLED)]
    calls = [
        serving.infer("sleeper", [[0.0]], metadata=serving.metadata("recognition", parent)) for _, parent in traced
    ]
    eventually_sync(lambda: sleeper.statistics().waiting_items == 3)
    for call in (holding, *calls):
        call.result()
    first, unsampled, second = (trace_id for trace_id, _ in traced)

    def together() -> list[SpanRecord]:
        return [
            span for trace_id in (first, second) for span in serving.spans_of(trace_id) if span.name == names.BATCH_SPAN
        ]

    eventually_sync(lambda: len(together()) == 1, timeout=10)
    [batch] = together()
    assert {link.trace_id for link in batch.links} == {first, second}
    assert batch.attributes[names.BATCH_SIZE] == "3"
    # The call itself is recorded after all, since it was slow; it has no part in the batch's span.
    assert names.BATCH_SPAN not in {span.name for span in serving.spans_of(unsampled)}


def test_a_request_that_is_not_sampled_leaves_no_span(serving: Serving) -> None:
    quiet, parent = serving.traced(_UNSAMPLED)
    serving.infer("double", [[1, 2, 3, 4]], metadata=serving.metadata("recognition", parent)).result()
    # What was recorded before this one, and is sent in order, has arrived when this one has.
    loud, parent = serving.traced(_SAMPLED)
    serving.infer("double", [[1, 2, 3, 4]], metadata=serving.metadata("recognition", parent)).result()
    eventually_sync(lambda: len(serving.spans_of(loud)) == 2, timeout=10)
    assert not serving.spans_of(quiet)
    batches = [span for trace in serving.spans.latest(1000) for span in trace.spans.values()]
    assert not [span for span in batches if any(link.trace_id == quiet for link in span.links)]
