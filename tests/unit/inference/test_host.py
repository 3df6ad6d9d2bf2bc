"""The models of a process: which one a call means, how they are replaced under load, and what a failed load touches."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.host import ModelHost
from inference_server.memory import resident_bytes
from inference_server.models.catalogue import Task
from inference_server.models.device import Runtime
from inference_server.models.source import AnyModel, Given, Listing, ready_made
from inference_server.models.weights import WeightsError
from inference_server.versions import State, age_of
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError, FailedPrecondition, NotFound, ResourceExhausted, Unavailable
from tests.support.eventually import eventually
from tests.unit.inference.scripted import Scripted

_TASK = Task.DETECT_TEXT


class Folder:
    """A source whose versions a test adds and takes away; each model it made is remembered."""

    def __init__(self, *versions: str, name: str = "reader", task: Task | None = _TASK) -> None:
        self.versions = list(versions)
        self.made: list[Versioned] = []
        self.fails: WeightsError | None = None
        self._name = name
        self._task = task

    def entries(self) -> Sequence[Listing]:
        return [Listing(self._name, version, self._task) for version in self.versions]

    def create(self, name: str, version: str, runtime: Runtime) -> AnyModel:
        if self.fails:
            raise self.fails
        self.made.append(Versioned(name, version))
        return self.made[-1]


class Versioned(Scripted):
    """Answers with its version; counts what runs after it was closed, which must be nothing."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(name=name, version=version, max_batch=8, instances=2)
        self.after_close = 0

    def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
        self.after_close += self.closed
        return [int(self.card.version)] * len(batch)


@pytest.fixture
def folder() -> Folder:
    return Folder("1")


@pytest.fixture
async def host(folder: Folder) -> AsyncIterator[ModelHost]:
    host = hosting(folder)
    await host.start()
    yield host
    await host.close(5.0)


def hosting(*sources: Any, memory_bytes: int = 0, runtimes: Sequence[Runtime] = (Runtime(),)) -> ModelHost:
    return ModelHost(
        sources,
        SystemClock(),
        NoOpTracer(),
        runtimes=runtimes,
        bounds=Bounds(timing_seconds=0.0),
        memory_bytes=memory_bytes,
        drain_seconds=5.0,
        linger_seconds=0.05,
    )


async def answer(engine: Engine[Any, Any]) -> Any:
    (result,) = await engine.answers([Item(2, 1)], Work())
    return result


def states(host: ModelHost) -> list[tuple[str, State]]:
    return [(known.version, known.state) for known in host.index()]


async def test_models_are_found_by_task_and_by_name() -> None:
    first, second = Scripted(name="first"), Scripted(name="second", version="3")
    other = Scripted(name="other")
    host = hosting(ready_made((_TASK, first), (_TASK, second), (None, other)))
    await host.start()
    assert host.find(_TASK, "").card is first.card, "the first of a task is its default"
    assert (
        host.find(_TASK, "second") is host.find(_TASK, "second@3") is host.named("second") is host.named("second", "3")
    )
    assert host.named("other").card is other.card
    for wanted in ("third", "second@4", "other"):
        with pytest.raises(NotFound) as refusal:
            host.find(_TASK, wanted)
        assert refusal.value.reason == "MODEL_NOT_FOUND"
        assert refusal.value.metadata["loaded"] == "first@1, second@3"
    with pytest.raises(Unavailable):
        host.find(Task.RECOGNIZE_TEXT, "")
    await host.close(5.0)
    assert first.closed
    with pytest.raises(Unavailable):
        await host.find(_TASK, "").answers([Item(2, 1)], Work())


async def test_the_order_of_names_decides_about_the_default() -> None:
    host = hosting(ready_made((_TASK, Scripted(name="first")), (_TASK, Scripted(name="second"))))
    await host.start(["second", "first"])
    assert host.find(_TASK, "").card.name == "second"
    await host.close(5.0)


async def test_a_new_version_takes_over_and_the_old_one_ends(host: ModelHost, folder: Folder) -> None:
    old = host.find(_TASK, "")
    folder.versions.append("10")
    folder.versions.append("9")
    await host.load("reader")
    assert await answer(host.find(_TASK, "")) == 10
    assert states(host) == [("1", State.UNLOADING), ("9", State.UNAVAILABLE), ("10", State.READY)]
    assert await answer(old) == 1, "who found it before is still served"
    await host.settled()
    assert folder.made[0].closed
    assert states(host) == [("1", State.UNAVAILABLE), ("9", State.UNAVAILABLE), ("10", State.READY)]


async def test_a_version_by_number_serves_beside_the_others(host: ModelHost, folder: Folder) -> None:
    folder.versions.insert(0, "0")
    await host.load("reader", "0")
    assert await answer(host.named("reader", "0")) == 0
    assert await answer(host.named("reader")) == 1, "the newest is the default"
    await host.unload("reader", "1")
    assert await answer(host.named("reader")) == 0


async def test_loading_a_version_again_replaces_it(host: ModelHost, folder: Folder) -> None:
    await host.load("reader", "1")
    first, second = folder.made
    assert await answer(host.named("reader")) == 1
    await host.settled()
    assert (first.closed, second.closed) == (True, False)
    assert states(host) == [("1", State.READY)]


async def test_no_accepted_request_fails_while_versions_are_replaced(host: ModelHost, folder: Folder) -> None:
    """Sixteen callers at a time, on real threads, while the model is loaded again ten times."""
    stop, answered, failed = asyncio.Event(), 0, []

    async def caller() -> None:
        nonlocal answered
        while not stop.is_set():
            result = await answer(host.find(_TASK, ""))
            answered += 1
            if isinstance(result, CandelaError):
                failed.append(result)

    callers = [asyncio.ensure_future(caller()) for _ in range(16)]
    for turn in range(10):
        folder.versions = [str(turn // 2 + 2)]
        before = answered
        await host.load("reader")
        await eventually(lambda before=before: answered > before + 50)  # type: ignore[misc] # a lambda bound to its turn
    stop.set()
    await asyncio.gather(*callers)
    await host.settled()
    assert failed == []
    assert [model.closed for model in folder.made] == [True] * 10 + [False]
    assert sum(model.after_close for model in folder.made) == 0


async def test_a_load_that_fails_touches_nothing(host: ModelHost, folder: Folder) -> None:
    folder.fails = WeightsError("the weights have another hash")
    with pytest.raises(FailedPrecondition, match="another hash"):
        await host.load("reader")
    assert states(host) == [("1", State.READY)]
    folder.versions.append("2")
    with pytest.raises(FailedPrecondition):
        await host.load("reader")
    assert await answer(host.find(_TASK, "")) == 1
    known = host.index()[-1]
    assert (known.version, known.state) == ("2", State.UNAVAILABLE)
    assert "another hash" in known.reason
    with pytest.raises(Unavailable, match="another hash"):
        host.named("reader", "2")
    with pytest.raises(NotFound):
        await host.load("nobody")


async def test_an_unloaded_model_is_unavailable_until_it_is_loaded_again(host: ModelHost, folder: Folder) -> None:
    await host.unload("reader")
    with pytest.raises(Unavailable) as refusal:
        host.named("reader")
    assert refusal.value.metadata["state"] == "UNLOADING"
    with pytest.raises(NotFound):
        await host.unload("reader")
    await host.settled()
    assert states(host) == [("1", State.UNAVAILABLE)]
    await host.load("reader")
    assert await answer(host.named("reader")) == 1


async def test_what_vanished_from_its_source_is_forgotten_once_it_is_unloaded(host: ModelHost, folder: Folder) -> None:
    folder.versions.clear()
    await host.scan()
    assert await answer(host.named("reader")) == 1
    await host.unload("reader")
    await host.settled()
    await host.scan()
    assert host.index() == []


async def test_a_model_that_must_be_there_fails_the_start_and_an_optional_one_does_not(folder: Folder) -> None:
    folder.fails = WeightsError("no weights")
    with pytest.raises(WeightsError):
        await hosting(folder).start(["reader"])
    host = hosting(ready_made((None, Scripted())), folder)
    await host.start(["scripted"], optional=["reader"])
    assert [(known.name, known.state) for known in host.index()] == [
        ("reader", State.UNAVAILABLE),
        ("scripted", State.READY),
    ]
    await host.close(5.0)


async def test_a_load_beyond_the_memory_is_refused(folder: Folder) -> None:
    host = hosting(folder, memory_bytes=1)
    with pytest.raises(ResourceExhausted, match="CANDELA_INFERENCE_MEMORY_MIB") as refusal:
        await host.load("reader")
    assert refusal.value.metadata["cause"] == "memory"
    assert folder.made == []


async def test_a_model_that_turns_out_too_large_is_given_back() -> None:
    class Hungry(Scripted):
        def load(self) -> None:
            self.weights = bytearray(b"x" * (96 << 20))
            super().load()

    model = Hungry()
    host = hosting(ready_made((None, model)), memory_bytes=resident_bytes() + (48 << 20))
    with pytest.raises(ResourceExhausted):
        await host.load("scripted")
    assert model.closed


async def test_instances_are_spread_over_devices() -> None:
    class Placed(Scripted):
        def __init__(self, index: int) -> None:
            super().__init__(instances=2, max_batch=1)
            self.index = index

        def run(self, batch: Sequence[int]) -> list[int | CandelaError]:
            barrier.wait(timeout=10.0)
            return [self.index] * len(batch)

    barrier = threading.Barrier(4)
    source = Given({Listing("scripted", "1"): lambda runtime: Placed(runtime.index)})
    host = hosting(source, runtimes=[Runtime(index=0), Runtime(index=1)])
    await host.start()
    engine = host.named("scripted")
    results = await asyncio.gather(*(engine.answers([Item(value, 1)], Work()) for value in range(4)))
    assert sorted(result for (result,) in results if isinstance(result, int)) == [0, 0, 1, 1]
    await host.close(5.0)


def test_versions_are_ordered_by_their_numbers() -> None:
    assert sorted(["10", "9", "1.10", "1.9", "v2", ""], key=age_of) == ["", "v2", "1.9", "1.10", "9", "10"]
