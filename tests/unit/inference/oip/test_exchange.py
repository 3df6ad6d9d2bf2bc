"""ModelInfer over Exchange means what the unary method means, its own words on urgency included."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from candela.inference.v1 import exchange_service_pb2 as exchange_pb2
from candela.inference.v1.exchange_service_pb2_grpc import ExchangeServiceStub
from kserve import grpc_service_pb2 as pb
from services.kit.grpc_status import code_of, from_status
from tests.support.eventually import eventually
from tests.unit.inference.oip.conftest import HeldOip, Oip
from tests.unit.inference.oip.requests import double, hold, request


class Stream:
    """One Exchange of the inference server, written by hand."""

    def __init__(self, oip: Oip) -> None:
        self._call: Any = ExchangeServiceStub(oip.server.channel).Exchange(metadata=oip.metadata)

    async def send(self, *calls: tuple[int, pb.ModelInferRequest]) -> None:
        """Send calls in one frame."""
        frame = exchange_pb2.CallFrame(calls=[exchange_pb2.Call(id=number, infer=asked) for number, asked in calls])
        await self._call.write(frame)

    async def replies(self, count: int) -> list[exchange_pb2.Reply]:
        """Return the next replies to calls, in the order in which they come."""
        found: list[exchange_pb2.Reply] = []
        while len(found) < count:
            frame = await asyncio.wait_for(self._call.read(), 10)
            found += [reply for reply in frame.replies if reply.id]
        return found

    def close(self) -> None:
        self._call.cancel()


@pytest.fixture
async def stream(oip: Oip) -> AsyncIterator[Stream]:
    opened = Stream(oip)
    yield opened
    opened.close()


ASKED: Sequence[pb.ModelInferRequest] = [
    double([1, 2, 3, 4], [4, 3, 2, 1], id="both", outputs=("SUM",)),
    double([1, 2, 3]),
    double([1, 2, 3, 4], [-1, 0, 0, 0]),
    request("nobody"),
    request("wordless"),
    request("ragged", ("N", "INT32", [[1], [2]])),
    request("wrong", ("X", "FP32", [[1]])),
]


async def test_both_doors_answer_alike(oip: Oip, stream: Stream) -> None:
    await stream.send(*enumerate(ASKED, 1))
    replies = {reply.id: reply for reply in await stream.replies(len(ASKED))}
    for number, asked in enumerate(ASKED, 1):
        assert replies[number].last
        if number == 1:
            assert replies[number].infer == await oip.infer(asked)
            continue
        refused, told = await oip.refusal(oip.infer(asked)), from_status(replies[number].error)
        assert (code_of(told), told.message, told.reason) == (code_of(refused), refused.message, refused.reason)


async def test_the_priority_of_a_request_counts_here_too(held: HeldOip) -> None:
    stream = Stream(held.oip)
    await stream.send((1, hold(0)))
    await held.until_begun()
    for number, level in enumerate((3,) * 8 + (1,) * 8, 2):
        asked = hold(number)
        asked.parameters["priority"].int64_param = level
        await stream.send((number, asked))
    await eventually(lambda: held.engine.waiting == 16)
    held.model.gate.set()
    await stream.replies(17)
    stream.close()
    assert sorted(held.model.order[1:9]) == list(range(10, 18))  # the urgent ones, though they came last
