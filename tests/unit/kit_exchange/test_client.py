"""Calls through an Exchange to real servers: what is carried, what fails, and how replicas come and go."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from candela.exchange.v1 import exchange_pb2
from candela.inference.v1 import embedding_service_pb2_grpc, plate_service_pb2, plate_service_pb2_grpc
from observability.telemetry import Telemetry, start_telemetry
from services.kit.call import Call, Principal, handling
from services.kit.errors import (
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import Exchange, open_exchange
from services.kit.exchange.door import Door, Frames
from services.kit.exchange.incoming import Incoming
from services.kit.exchange.options import ClientOptions, DoorOptions
from services.kit.exchange.stubs import ExchangeChannel
from services.kit.settings import MIB, ServerSettings
from tests.support.eventually import eventually
from tests.support.grpc_server import MeshKeys, RunningServer, running_server
from tests.unit.kit_exchange.models import CONTRACT, InferRequest, InferResponse, Models, embed

ADA = Principal(tenant="acme", user="ada", api_key="k1")


class Replica:
    """One server that a test may end."""

    def __init__(self, server: RunningServer, models: Models, draining: asyncio.Event, stack: AsyncExitStack) -> None:
        self.server = server
        self.models = models
        self.draining = draining
        self.stack = stack

    @property
    def address(self) -> str:
        return self.server.address

    async def stop(self) -> None:
        self.draining.set()
        await self.stack.aclose()

    async def kill(self) -> None:
        """End at once: nothing that is under way is answered."""
        await self.stack.aclose()


class Mesh:
    """Replicas with one set of keys, and Exchanges to them."""

    def __init__(self, folder: Path) -> None:
        self.keys = MeshKeys(folder)
        self.exporter = InMemorySpanExporter()
        self.telemetry: Telemetry = start_telemetry("recognition", processors=[SimpleSpanProcessor(self.exporter)])
        self.stack = AsyncExitStack()

    async def replica(
        self, name: str = "m", listen: str = "127.0.0.1:0", handlers: Any = None, **options: Any
    ) -> Replica:
        models, draining, stack = Models(name), asyncio.Event(), AsyncExitStack()
        chosen = models.frames() | (handlers(models) if handlers else {})
        most = options.pop("max_receive_bytes", 33 * MIB)
        settings = ServerSettings(listen=listen, metrics_port=0, drain_seconds=0.2, max_receive_bytes=most)
        door = Door(CONTRACT, chosen, DoorOptions(**{"sampled": 0.0} | options), draining)
        server = await stack.enter_async_context(
            running_server(*models.bindings(door), service="inference", keys=self.keys, settings=settings)
        )
        await self.stack.enter_async_context(stack)
        return Replica(server, models, draining, stack)

    @asynccontextmanager
    async def exchange(self, *addresses: Any, **options: Any) -> AsyncIterator[Exchange]:
        places = [one if isinstance(one, str) else one.address for one in addresses]
        defaults: dict[str, Any] = {"first_pause_seconds": 0.01, "longest_pause_seconds": 0.05}
        async with open_exchange(
            "inference",
            CONTRACT,
            Addresses(places),
            self.keys.identity("recognition"),
            self.telemetry.tracer,
            options=ClientOptions(**defaults | options),
        ) as exchange:
            yield exchange


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    mesh = Mesh(tmp_path / "keys")
    async with mesh.stack:
        yield mesh
    mesh.telemetry.close()


async def ask(exchange: Exchange, text: str, **options: Any) -> str:
    return str((await exchange.call("embed_texts", embed(text), **options)).model)


async def infer(exchange: Exchange, text: str, **options: Any) -> str:
    return str((await exchange.call("infer", InferRequest(model_name=text), **options)).model_name)


# --- what is carried


async def test_calls_of_one_turn_leave_in_one_frame(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        answers = await asyncio.gather(*(ask(exchange, f"t{number}") for number in range(50)))
        assert answers == [f"m:t{number}" for number in range(50)]
        assert one.models.sizes == [50]


async def test_a_call_carries_the_user_the_time_and_the_trace_of_the_one_being_handled(mesh: Mesh) -> None:
    one = await mesh.replica()
    handled = Call("/x/Y", principal=ADA, deadline=time.monotonic() + 3.0)
    async with mesh.exchange(one) as exchange:
        with mesh.telemetry.tracer.start_as_current_span("outer") as outer, handling(handled):
            await ask(exchange, "a", timeout=30.0)
        call = one.models.calls[-1]
        assert call.principal == Principal(tenant="acme", user="ada", api_key="k1", service="recognition")
        assert 1.0 < (call.deadline or 0) - time.monotonic() <= 3.0
        trace_id = outer.get_span_context().trace_id
        served = await eventually(lambda: one.server.spans)
        assert {span.context.trace_id for span in served} == {trace_id}
        names = [(span.name, span.kind.name) for span in mesh.exporter.get_finished_spans()]
        assert ("candela.inference.v1.EmbeddingService/EmbedTexts", "CLIENT") in names


async def test_a_call_without_a_trace_makes_no_span(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        await ask(exchange, "a")
    assert mesh.exporter.get_finished_spans() == ()
    assert one.server.spans == ()


async def test_a_part_of_the_calls_without_a_trace_begins_one(mesh: Mesh) -> None:
    one = await mesh.replica(sampled=0.5)
    async with mesh.exchange(one) as exchange:
        await asyncio.gather(*(ask(exchange, "a") for _ in range(200)))
    assert 50 <= len(one.server.spans) <= 150


async def test_a_request_id_travels(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        await infer(exchange, "a", request_id="r1")
    assert one.models.calls[-1].request_id == "r1"


async def test_more_urgent_calls_go_first(mesh: Mesh) -> None:
    one = await mesh.replica(window=1)
    async with mesh.exchange(one) as exchange:
        await ask(exchange, "first")
        calls = [
            ask(exchange, "low", priority=exchange_pb2.PRIORITY_LOW),
            ask(exchange, "normal"),
            ask(exchange, "high", priority=exchange_pb2.PRIORITY_HIGH),
        ]
        await asyncio.gather(*calls)
        assert one.models.began == ["first", "high", "normal", "low"]


async def test_stubs_work_over_it(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        channel = ExchangeChannel(exchange)
        stub: Any = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        assert (await stub.EmbedTexts(embed("a"), timeout=5.0)).model == "m:a"
        plates: Any = plate_service_pb2_grpc.PlateServiceStub(channel)
        with pytest.raises(Internal):
            await plates.DetectPlates(plate_service_pb2.DetectPlatesRequest())


# --- failures


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        ("not found", NotFound, "MODEL_NOT_FOUND"),
        ("exhausted", ResourceExhausted, "OVERLOADED"),
        ("crash", Internal, "INTERNAL"),
        ("unavailable", Unavailable, "UNAVAILABLE"),
        ("", InvalidArgument, "INVALID_ARGUMENT"),
    ],
)
async def test_errors_are_those_of_our_tree(mesh: Mesh, text: str, kind: type[Exception], reason: str) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        with pytest.raises(kind) as caught:
            await ask(exchange, text)
        assert caught.value.reason == reason  # type: ignore[attr-defined]  # every error of the tree has one


async def test_time_that_runs_out(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        await ask(exchange, "warm")
        with pytest.raises(DeadlineExceeded):
            await ask(exchange, "wait", timeout=0.5)
        await eventually(lambda: one.models.cancelled == 1)
        with pytest.raises(DeadlineExceeded):
            await ask(exchange, "a", timeout=0.0)


async def test_a_caller_that_leaves_frees_the_server(mesh: Mesh) -> None:
    one = await mesh.replica(window=1)
    async with mesh.exchange(one) as exchange:
        leaving = asyncio.create_task(ask(exchange, "wait"))
        await eventually(lambda: one.models.waiting)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await eventually(lambda: one.models.cancelled == 1)
        assert await ask(exchange, "next") == "m:next"  # its place in the window is free again


async def test_a_server_that_is_not_there_is_waited_for_a_moment(mesh: Mesh) -> None:
    async with mesh.exchange("127.0.0.1:1", connect_seconds=0.1) as exchange:
        with pytest.raises(Unavailable):
            await ask(exchange, "a")


async def test_a_server_that_comes_late_is_found(mesh: Mesh) -> None:
    gone = await mesh.replica()
    address = gone.address
    await gone.stop()
    async with mesh.exchange(address) as exchange:
        waiting = asyncio.create_task(ask(exchange, "a"))
        await asyncio.sleep(0)
        await mesh.replica("late", listen=address)
        assert await waiting == "late:a"


async def test_what_waits_is_bounded(mesh: Mesh) -> None:
    async with mesh.exchange("127.0.0.1:1", connect_seconds=0.2, waiting_calls=2) as exchange:
        waiting = [asyncio.create_task(ask(exchange, "a")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhausted):
            await ask(exchange, "b")
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in results] == [Unavailable, Unavailable]
        with pytest.raises(Unavailable):  # there is room again
            await ask(exchange, "c")


async def test_a_server_without_credit_is_overloaded_after_a_while(mesh: Mesh) -> None:
    one = await mesh.replica(window=1)
    async with mesh.exchange(one, credit_seconds=0.1) as exchange:
        first = asyncio.create_task(ask(exchange, "wait"))
        await eventually(lambda: one.models.waiting)
        with pytest.raises(ResourceExhausted) as caught:
            await ask(exchange, "a")
        assert caught.value.reason == "OVERLOADED"
        one.models.answer_waiting()
        await first


async def test_calls_end_when_the_exchange_closes(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one) as exchange:
        waiting = asyncio.create_task(ask(exchange, "wait"))
        await eventually(lambda: one.models.waiting)
    with pytest.raises(Unavailable):
        await waiting


# --- large calls


async def test_large_calls_have_a_stream_of_their_own(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one, frame_bytes=4000) as exchange:
        large = InferRequest(model_name="large", raw_input_contents=[b"x" * 3_000_000])
        answers = await asyncio.gather(
            *(exchange.call("infer", large) for _ in range(5)), *(infer(exchange, f"s{n}") for n in range(20))
        )
        assert [answer.model_name for answer in answers[:5]] == ["m:large"] * 5
        assert sorted(one.models.sizes, reverse=True) == [20, 1, 1, 1, 1, 1]
        assert one.models.began.index("s19") < 20  # none waited behind the large ones


# --- many replies


def many(models: Models) -> dict[str, Any]:
    return {"embed_texts": models.many}


async def test_many_replies_come_in_order(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one, reply_window=8) as exchange:
        texts = [f"t{number}" for number in range(200)]
        replies = [reply.model async for reply in exchange.stream("embed_texts", embed(*texts))]
        assert replies == [f"m:{text}" for text in texts]


async def test_a_reader_that_waits_holds_its_server_up_and_nobody_else(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one, reply_window=8) as exchange:
        texts = [f"t{number}" for number in range(200)]
        async with aclosing(exchange.stream("embed_texts", embed(*texts))) as replies:
            assert (await anext(replies)).model == "m:t0"
            assert await infer(exchange, "b") == "m:b"
            assert len(one.models.began) <= 12
        await eventually(lambda: not any("t199" in text for text in one.models.began))


async def test_a_stream_that_fails_says_so_after_what_came(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one) as exchange:
        replies = exchange.stream("embed_texts", embed("a", "not found"))
        assert (await anext(replies)).model == "m:a"
        with pytest.raises(NotFound):
            await anext(replies)
        with pytest.raises(StopAsyncIteration):
            await anext(replies)


async def test_leaving_a_stream_early_ends_its_work(mesh: Mesh) -> None:
    one = await mesh.replica(handlers=many)
    async with mesh.exchange(one) as exchange:
        async with aclosing(exchange.stream("embed_texts", embed("a", "wait", "b"))) as replies:
            await anext(replies)
            await eventually(lambda: "wait" in one.models.began)
        await eventually(lambda: one.models.cancelled == 1)


# --- replicas


async def test_calls_are_spread_over_replicas(mesh: Mesh) -> None:
    replicas = [await mesh.replica(name) for name in "ab"]
    async with mesh.exchange(*replicas) as exchange:
        await asyncio.gather(*(ask(exchange, "warm") for _ in range(4)))
        await eventually(lambda: all_ready(exchange, 2))
        for replica in replicas:
            replica.models.began.clear()
        await asyncio.gather(*(ask(exchange, "x") for _ in range(100)))
        for _ in range(20):
            await ask(exchange, "one at a time")
        counts = [len(replica.models.began) for replica in replicas]
        assert counts == [60, 60]


def all_ready(exchange: Exchange, count: int) -> bool:
    return exchange.streams == count


async def test_a_replica_that_dies_loses_no_call_that_may_be_repeated(mesh: Mesh) -> None:
    first, second = [await mesh.replica(name) for name in "ab"]
    async with mesh.exchange(first, second) as exchange:
        await ask(exchange, "warm")
        await eventually(lambda: all_ready(exchange, 2))
        calls = [asyncio.create_task(ask(exchange, "wait")) for _ in range(20)]
        others = [asyncio.create_task(infer(exchange, "wait")) for _ in range(20)]
        await eventually(lambda: len(first.models.waiting) + len(second.models.waiting) == 40)
        lost = sum(one.member == "infer" for one in first.models.waiting)
        await first.kill()
        await eventually(lambda: sum(one.member == "embed_texts" for one in second.models.waiting) == 20)
        for one in second.models.waiting:
            if one.member == "infer":
                one.fail(NotFound("asked and answered"))
        second.models.waiting = [one for one in second.models.waiting if one.member == "embed_texts"]
        second.models.answer_waiting()
        assert await asyncio.gather(*calls) == ["b:wait"] * 20
        results = await asyncio.gather(*others, return_exceptions=True)
        assert sum(isinstance(one, Unavailable) for one in results) == lost > 0
        assert sum(isinstance(one, NotFound) for one in results) == 20 - lost


async def test_a_call_answered_unavailable_is_asked_of_another_replica(mesh: Mesh) -> None:
    def refuse(items: Sequence[Incoming]) -> None:
        for incoming in items:
            incoming.fail(Unavailable("stopping"))

    def refusing(_: Models) -> dict[str, Any]:
        return {"embed_texts": Frames(refuse)}

    replicas = [await mesh.replica("a", handlers=refusing), await mesh.replica("b")]
    async with mesh.exchange(*replicas) as exchange:
        await infer(exchange, "warm")
        await eventually(lambda: all_ready(exchange, 2))
        assert {await ask(exchange, "x") for _ in range(10)} == {"b:x"}


async def test_a_replica_that_restarts_is_used_again(mesh: Mesh) -> None:
    first = await mesh.replica("old")
    address = first.address
    async with mesh.exchange(first) as exchange:
        assert await ask(exchange, "a") == "old:a"
        await first.stop()
        await mesh.replica("new", listen=address)
        assert await ask(exchange, "a") == "new:a"


async def test_a_replica_that_drains_finishes_and_gets_no_more(mesh: Mesh) -> None:
    first, second = [await mesh.replica(name) for name in "ab"]
    async with mesh.exchange(first, second) as exchange:
        await ask(exchange, "warm")
        await eventually(lambda: all_ready(exchange, 2))
        calls = [asyncio.create_task(infer(exchange, "wait")) for _ in range(10)]
        await eventually(lambda: len(first.models.waiting) == 5)
        first.draining.set()
        await eventually(lambda: all_ready(exchange, 1))
        assert {await ask(exchange, "x") for _ in range(10)} == {"b:x"}
        for replica in (first, second):
            for one in replica.models.waiting:
                one.reply(InferResponse(model_name=replica.models.name))
        assert sorted(await asyncio.gather(*calls)) == ["a"] * 5 + ["b"] * 5


async def test_streams_are_changed_under_load_and_no_call_is_lost(mesh: Mesh) -> None:
    one = await mesh.replica(rotate_seconds=0.05)
    streams: set[Any] = set()
    async with mesh.exchange(one) as exchange:
        until = time.monotonic() + 0.6
        answered = 0
        while time.monotonic() < until:
            answers = await asyncio.gather(*(infer(exchange, "x", timeout=5.0) for _ in range(8)))
            assert answers == ["m:x"] * 8
            answered += 8
            streams.update(exchange._book.small)
    assert len(one.models.began) == answered
    assert len(streams) >= 3


async def test_a_replica_that_hangs_is_given_up(mesh: Mesh) -> None:
    first, second = await mesh.replica("a", heartbeat_seconds=60.0), await mesh.replica("b", heartbeat_seconds=0.3)
    async with mesh.exchange(first, second, heartbeat_seconds=0.3) as exchange:
        await ask(exchange, "warm")
        await eventually(lambda: all_ready(exchange, 2))
        link = next(one for one in exchange._book.small if one.replica == first.address)
        link.pulse.told(0.02)  # as if it had promised a heartbeat soon, and then fell silent
        calls = [asyncio.create_task(ask(exchange, "wait")) for _ in range(4)]
        await eventually(lambda: len(second.models.waiting) == 4)
        second.models.answer_waiting()
        assert await asyncio.gather(*calls) == ["b:wait"] * 4


async def test_replicas_of_a_name_come_and_go(mesh: Mesh) -> None:
    first, second = [await mesh.replica(name) for name in "ab"]
    found: Sequence[str] = [first.address]

    async def look_up(host: str, port: int) -> Sequence[str]:
        assert (host, port) == ("inference.mesh", 8)
        return found

    addresses = Addresses(["inference.mesh:8"], look_up)
    options = ClientOptions(resolve_seconds=0.02, first_pause_seconds=0.01)
    async with open_exchange(
        "inference", CONTRACT, addresses, mesh.keys.identity("r"), mesh.telemetry.tracer, options=options
    ) as exchange:
        assert await ask(exchange, "x") == "a:x"
        found = [first.address, second.address]
        await eventually(lambda: all_ready(exchange, 2))
        found = [second.address]
        await eventually(lambda: all_ready(exchange, 1))
        assert await ask(exchange, "x") == "b:x"


def test_only_a_name_may_change() -> None:
    assert Addresses(["inference.mesh:8"]).changing
    assert Addresses(["inference.mesh:8"]).authority == "inference.mesh"
    for fixed in (["127.0.0.1:8"], ["[::1]:8"], ["localhost:8"], ["unix:/x"], ["a:1", "b:1"]):
        assert not Addresses(fixed).changing


async def test_a_call_too_large_for_the_server_fails_and_others_go_on(mesh: Mesh) -> None:
    one = await mesh.replica(max_receive_bytes=100_000)
    async with mesh.exchange(one, frame_bytes=50_000) as exchange:
        small = asyncio.create_task(ask(exchange, "wait"))
        large = exchange.call("embed_texts", embed(*("x" * 30_000 for _ in range(10))))
        with pytest.raises(ResourceExhausted):
            await large
        one.models.answer_waiting()
        assert await small == "m:wait"
        assert await infer(exchange, "y" * 60_000) == f"m:{'y' * 60_000}"


async def test_a_call_too_large_for_any_server_is_not_sent(mesh: Mesh) -> None:
    one = await mesh.replica()
    async with mesh.exchange(one, call_bytes=1000) as exchange:
        with pytest.raises(ResourceExhausted):
            await ask(exchange, "x" * 2000)
        assert await ask(exchange, "x") == "m:x"
    assert one.models.began == ["x"]


async def test_calls_that_cannot_leave_wait_at_home(mesh: Mesh) -> None:
    one = await mesh.replica(held_bytes=1000)
    async with mesh.exchange(one, unsent_bytes=20_000, frame_bytes=5000, waiting_calls=100_000) as exchange:
        calls = [asyncio.create_task(ask(exchange, "wait")) for _ in range(2)]
        await eventually(lambda: one.models.waiting)
        filler = [asyncio.create_task(infer(exchange, "x" * 4000)) for _ in range(1000)]
        await asyncio.sleep(0)
        await eventually(lambda: exchange._book.waiting > 0)
        assert exchange._book.small[0].outbox.unsent < 30_000
        one.models.answer_waiting()
        await asyncio.gather(*calls, *filler)
