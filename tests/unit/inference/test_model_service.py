"""ModelService behind the kit's whole pipeline: what it shows of models, and loading and unloading them."""

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from uuid import uuid4

import grpc
import pytest
from prometheus_client import REGISTRY

from candela.inference.v1 import model_pb2, model_service_pb2, model_service_pb2_grpc
from inference_server.api.models import ModelServicer, readiness
from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from inference_server.models.device import Device
from inference_server.models.source import Given, Listing
from inference_server.versions import UNLOADED, KnownModel, State
from observability.telemetry import start_telemetry
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError, InvalidArgument
from services.kit.server import Binding
from tests.support.eventually import eventually
from tests.support.grpc_server import RunningServer, running_server
from tests.unit.inference.scripted import Scripted

ListModelsRequest = model_service_pb2.ListModelsRequest
StatisticsRequest = model_service_pb2.GetModelStatisticsRequest


class Slow(Scripted):
    """Takes its time to load."""

    go = threading.Event()

    def load(self) -> None:
        assert self.go.wait(10.0), "the test never let it load"
        super().load()


class Unmeasurable(Scripted):
    def samples(self) -> Sequence[int]:
        return (1, 13)


class Unloadable(Scripted):
    def load(self) -> None:
        raise OSError("the weights are gone")


@dataclass
class Served:
    server: RunningServer
    stub: "model_service_pb2_grpc.ModelServiceAsyncStub"  # a type of the stubs for the checker only
    host: ModelHost

    @property
    def metadata(self) -> Any:
        return self.server.as_service("recognition")

    async def listed(self, **wanted: Any) -> dict[str, model_pb2.Model]:
        answer = await self.stub.ListModels(ListModelsRequest(**wanted), metadata=self.metadata)
        return {f"{one.name}@{one.version}": one for one in answer.models}

    async def statistics(self, name: str) -> model_pb2.ModelStatistics:
        answer: model_pb2.ModelStatistics = await self.stub.GetModelStatistics(
            StatisticsRequest(name=name), metadata=self.metadata
        )
        return answer

    async def refused(self, call: Any) -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        return error.value.code()


@pytest.fixture
def name() -> str:
    """A name that no other test counts under."""
    return f"scripted-{uuid4()}"


@asynccontextmanager
async def serve(source: Given, *names: str) -> AsyncIterator[Served]:
    telemetry = start_telemetry("inference")
    bounds = Bounds(max_items=8, timing_seconds=0.0)
    host = ModelHost([source], SystemClock(), telemetry.tracer, bounds=bounds, linger_seconds=0.0)
    await host.start(names)
    binding = Binding(model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelServicer(host, Device.CPU))
    async with running_server(binding, service="inference") as server:
        yield Served(server, model_service_pb2_grpc.ModelServiceStub(server.channel), host)
    await host.close(5.0)
    telemetry.close()


@pytest.fixture
async def served(name: str) -> AsyncIterator[Served]:
    source = Given(
        {
            Listing(name, "1", Task.DETECT_TEXT): lambda runtime: Scripted(name=name, max_batch=4),
            Listing(name, "10", Task.DETECT_TEXT): lambda runtime: Scripted(name=name, version="10", max_batch=8),
            Listing("broken", "1"): lambda runtime: Unloadable(name="broken"),
            Listing("slow", "1"): lambda runtime: Slow(name="slow"),
            Listing("thirteen", "1"): lambda runtime: Unmeasurable(name="thirteen"),
        }
    )
    async with serve(source, name) as running:
        yield running


async def run(engine: Engine[Any, Any], *values: int, tenant: str = "t") -> list[int | CandelaError]:
    return await engine.answers([Item(value, 10) for value in values], Work(tenant=tenant))


async def test_models_are_listed_loaded_or_not_by_name_and_version(served: Served, name: str) -> None:
    models = await served.listed()
    assert list(models) == ["broken@1", f"{name}@1", f"{name}@10", "slow@1", "thirteen@1"]
    idle, ready = models["broken@1"], models[f"{name}@10"]
    assert (idle.state, idle.platform) == (model_pb2.MODEL_STATE_UNAVAILABLE, "")
    assert (ready.state, ready.task, ready.platform) == (model_pb2.MODEL_STATE_READY, "detect-text", "python")
    assert (ready.device, ready.instances, ready.max_batch) == ("cpu", 1, 8)
    assert not ready.HasField("invariance")


async def test_invariance_is_measured_when_asked_for(served: Served, name: str) -> None:
    measured = (await served.listed(measure_invariance=True))[f"{name}@10"].invariance
    assert (measured.kind, measured.comparisons) == (model_pb2.BatchInvariance.KIND_EXACT, 0)
    assert (await served.listed())[f"{name}@10"].HasField("invariance")


async def test_a_model_that_cannot_be_measured_hides_no_other(
    served: Served, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await served.host.load("thirteen")
    models = await served.listed(measure_invariance=True)
    assert not models["thirteen@1"].HasField("invariance")
    assert models[f"{name}@10"].HasField("invariance")
    assert "thirteen@1 cannot be measured" in caplog.text


async def test_a_load_goes_on_when_its_caller_leaves(served: Served) -> None:
    call = served.stub.LoadModel(model_service_pb2.LoadModelRequest(name="slow"), metadata=served.metadata)

    async def state() -> model_pb2.ModelState.ValueType:
        return (await served.listed())["slow@1"].state

    async def loading() -> bool:
        return await state() == model_pb2.MODEL_STATE_LOADING

    async def ready() -> bool:
        return await state() == model_pb2.MODEL_STATE_READY

    await eventually(loading)
    call.cancel()
    assert await served.refused(
        served.stub.GetModelStatistics(StatisticsRequest(name="slow"), metadata=served.metadata)
    )
    Slow.go.set()
    await eventually(ready)


async def test_readiness_looks_again_while_models_come_and_go() -> None:
    class Host:
        looks = 0

        def index(self) -> list[KnownModel]:
            self.looks += 1
            if self.looks < 3:
                raise RuntimeError("dictionary changed size during iteration")
            return [KnownModel("m", "1", None, State.READY), KnownModel("n", "1", None, State.UNAVAILABLE, UNLOADED)]

    assert readiness(cast("ModelHost", Host())) == {"m@1": True}


async def test_pages_end_and_go_on(served: Served, name: str) -> None:
    seen, token = [], ""
    while True:
        request = ListModelsRequest(page_size=2, page_token=token)
        page = await served.stub.ListModels(request, metadata=served.metadata)
        seen.append([one.version for one in page.models])
        token = page.next_page_token
        if not token:
            break
    assert seen == [["1", "1"], ["10", "1"], ["1"]]
    call = served.stub.ListModels(ListModelsRequest(page_token="stale"), metadata=served.metadata)
    assert await served.refused(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_statistics_count_what_ran_what_failed_and_what_was_refused(served: Served, name: str) -> None:
    engine = served.host.named(name)
    *good, bad = await run(engine, 2, 4, -6)
    assert (good, type(bad)) == ([4, 8], InvalidArgument)
    await run(engine, 99, 3, tenant="u")
    with pytest.raises(CandelaError):
        await run(engine, *range(20), tenant="u")
    await eventually(partial(_when, engine, batches=2))
    had = await served.statistics(name)
    assert had.model == f"{name}@10"
    assert (had.items.done, had.items.failed, had.items.refused) == (3, 2, 20)
    assert [(one.reason, one.requests) for one in had.refusals] == [("queue_full", 1)]
    assert (had.batches, had.queue.count, had.compute.count) == (2, 4, 2)
    assert [(one.size, one.batches) for one in had.sizes] == [(1, 1), (3, 1)]
    assert sum(bucket.count for bucket in had.queue.buckets) == 4
    assert not had.queue.buckets[-1].HasField("at_most")
    assert had.queue.p50.ToTimedelta() <= had.queue.p99.ToTimedelta()
    tenants = {one.tenant: one.items for one in had.tenants}
    assert (tenants["t"].done, tenants["t"].failed) == (2, 1)
    assert (tenants["u"].done, tenants["u"].failed, tenants["u"].refused) == (1, 1, 20)
    assert had.since.ToNanoseconds() < had.last_batch_time.ToNanoseconds()


def _when(engine: Engine[Any, Any], *, batches: int) -> bool:
    """Whether so many batches were counted: results leave before."""
    return engine.reporter.statistics().batches == batches


async def test_costs_are_shown_by_shape_the_busiest_first(served: Served, name: str) -> None:
    engine = served.host.named(name)
    await run(engine, 1)
    await run(engine, 2, 4)
    await eventually(partial(_when, engine, batches=2))
    costs = (await served.statistics(name)).costs
    assert [(one.shape, one.batches, one.items) for one in costs] == [("0", 1, 2), ("1", 1, 1)]
    [pair] = costs[0].sizes
    assert (pair.size, pair.samples) == (2, 1)
    assert pair.items_per_second == pytest.approx(2 / pair.compute.ToTimedelta().total_seconds(), rel=0.5)
    best = (await served.listed())[f"{name}@10"].best_batches
    assert [one.shape for one in best] == ["0", "1"]
    assert all(1 <= one.items <= 8 for one in best)


async def test_statistics_of_a_model_that_is_not_loaded_are_refused(served: Served) -> None:
    for wanted, code in (("nobody", grpc.StatusCode.NOT_FOUND), ("broken", grpc.StatusCode.UNAVAILABLE)):
        call = served.stub.GetModelStatistics(StatisticsRequest(name=wanted), metadata=served.metadata)
        assert await served.refused(call) is code
    call = served.stub.GetModelStatistics(StatisticsRequest(), metadata=served.metadata)
    assert await served.refused(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_unloading_and_loading(served: Served, name: str) -> None:
    unload, load = model_service_pb2.UnloadModelRequest(name=name), model_service_pb2.LoadModelRequest(name=name)
    gone = await served.stub.UnloadModel(unload, metadata=served.metadata)
    assert [(one.version, one.reason) for one in gone.models] == [("1", ""), ("10", "unloaded")]
    await served.host.settled()
    for _ in range(2):  # a repeat changes nothing
        again = await served.stub.UnloadModel(unload, metadata=served.metadata)
        assert {one.state for one in again.models} == {model_pb2.MODEL_STATE_UNAVAILABLE}
    model = await served.stub.LoadModel(load, metadata=served.metadata)
    assert (model.version, model.state, model.max_batch) == ("10", model_pb2.MODEL_STATE_READY, 8)
    assert (await served.statistics(name)).batches == 0


async def test_a_model_that_cannot_be_loaded_says_why_and_counts_as_not_ready(served: Served, name: str) -> None:
    assert readiness(served.host) == {f"{name}@10": True}
    load = model_service_pb2.LoadModelRequest(name="broken")
    code = await served.refused(served.stub.LoadModel(load, metadata=served.metadata))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "weights are gone" in (await served.listed())["broken@1"].reason
    assert readiness(served.host) == {f"{name}@10": True, "broken@1": False}
    await served.host.unload(name)
    assert readiness(served.host) == {"broken@1": False}


async def test_an_unknown_model_is_not_found(served: Served) -> None:
    load, unload = model_service_pb2.LoadModelRequest(name="x"), model_service_pb2.UnloadModelRequest(name="x")
    for call in (
        served.stub.LoadModel(load, metadata=served.metadata),
        served.stub.UnloadModel(unload, metadata=served.metadata),
    ):
        assert await served.refused(call) is grpc.StatusCode.NOT_FOUND


async def test_only_services_may_ask(served: Served) -> None:
    assert await served.refused(served.stub.ListModels(ListModelsRequest())) is grpc.StatusCode.UNAUTHENTICATED
    admin = served.server.as_user("u1", role="ADMIN")
    call = served.stub.ListModels(ListModelsRequest(), metadata=admin)
    assert await served.refused(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_counters_go_on_when_a_model_is_loaded_anew_and_statistics_begin_again(served: Served, name: str) -> None:
    for round_number in (1, 2):
        engine = served.host.named(name)
        await run(engine, 2)
        await eventually(partial(_when, engine, batches=1))
        labels = {"model": f"{name}@10", "outcome": "done"}
        assert REGISTRY.get_sample_value("inference_items_total", labels) == round_number
        await served.host.load(name)
    assert (await served.statistics(name)).batches == 0
