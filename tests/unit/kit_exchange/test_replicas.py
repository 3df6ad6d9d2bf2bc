"""Replicas come and go: killed, drained, hung, restarted, renamed. No call that may be repeated is lost."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from services.kit.errors import (
    NotFound,
    Unavailable,
)
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import Exchange, open_exchange
from services.kit.exchange.door import Frames
from services.kit.exchange.incoming import Incoming
from services.kit.exchange.options import ClientOptions
from tests.support.eventually import eventually
from tests.unit.kit_exchange.models import CONTRACT, InferResponse, Models
from tests.unit.kit_exchange.replicas import Mesh, ask, infer

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
