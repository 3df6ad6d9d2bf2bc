"""ModelStreamInfer: order, errors of single requests, cancellation, the drain."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence

import grpc
import pytest

from inference_server.engine import Work
from inference_server.oip import stream as stream_module
from inference_server.oip.stream import InferStream
from kserve import grpc_service_pb2 as pb
from tests.support.eventually import eventually
from tests.unit.inference.oip.conftest import HeldOip, Oip
from tests.unit.inference.oip.requests import array_of, double, hold, request


async def _answers(oip: Oip, *asked: pb.ModelInferRequest, **headers: str) -> list[pb.ModelStreamInferResponse]:
    metadata = (*oip.metadata, *headers.items())
    return [one async for one in oip.stub.ModelStreamInfer(_each(asked), metadata=metadata)]


async def _each(asked: Sequence[pb.ModelInferRequest]) -> AsyncIterator[pb.ModelInferRequest]:
    for one in asked:
        yield one


async def test_answers_come_in_the_order_of_the_requests(oip: Oip) -> None:
    answers = await _answers(
        oip,
        request("sleeper", ("SECONDS", "FP32", [[0.1]]), id="slow"),
        *[double([n, 0, 0, 0], id=str(n)) for n in range(50)],
    )
    assert [one.infer_response.id for one in answers] == ["slow", *map(str, range(50))]
    assert [array_of(one.infer_response, "SUM").tolist() for one in answers[1:]] == [[n] for n in range(50)]
    assert all(one.infer_response.parameters["triton_final_response"].bool_param for one in answers)
    assert not any(one.error_message for one in answers)


async def test_a_bad_request_fails_alone_and_says_whose_it_is(oip: Oip) -> None:
    asked = (
        double([1, 2, 3], id="bad"),
        double([-1, 0, 0, 0], id="worse"),
        request("nobody", id="none"),
        double([1] * 4),
    )
    bad, worse, none, good = await _answers(oip, *asked)
    assert (bad.infer_response.id, worse.infer_response.id, none.infer_response.id) == ("bad", "worse", "none")
    assert "expected [-1,4]" in bad.error_message
    assert worse.error_message == "X must not be negative"
    assert none.error_message == "Request for unknown model: 'nobody' is not found"
    assert not good.error_message
    assert array_of(good.infer_response, "SUM").tolist() == [4]


async def test_an_empty_final_response_adds_nothing_to_one_that_is_final(oip: Oip) -> None:
    asked = double([1] * 4)
    asked.parameters["triton_enable_empty_final_response"].bool_param = True
    (answer,) = await _answers(oip, asked)
    assert answer.infer_response.parameters["triton_final_response"].bool_param
    assert answer.infer_response.raw_output_contents


async def test_the_strict_header_ends_the_stream_with_the_status(oip: Oip) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _answers(oip, double([1] * 4), double([1, 2, 3]), double([1] * 4), triton_grpc_error="true")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_timeout_of_one_request_is_its_own(held: HeldOip) -> None:
    late = hold(2, id="late")
    late.parameters["timeout"].int64_param = 10_000
    call = held.oip.stub.ModelStreamInfer(metadata=held.oip.metadata)
    await call.write(hold(1))
    await held.until_begun()
    await call.write(late)
    await call.write(hold(3))
    await call.done_writing()
    await eventually(lambda: held.engine.waiting == 2)
    over = time.monotonic() + 0.02
    await eventually(lambda: time.monotonic() > over)
    held.model.gate.set()
    assert [one.error_message != "" for one in [one async for one in call]] == [False, True, False]


async def test_a_caller_that_goes_away_leaves_nothing_waiting(held: HeldOip) -> None:
    call = held.oip.stub.ModelStreamInfer(metadata=held.oip.metadata)
    await call.write(hold(0))
    await held.until_begun()
    for number in range(40):
        await call.write(hold(number))
    await eventually(lambda: held.engine.waiting == 40)
    call.cancel()
    await eventually(lambda: held.engine.waiting == 0)
    held.model.gate.set()
    await eventually(lambda: not held.engine.busy)
    assert held.model.batches == [1]
    assert held.engine.reporter.statistics().items["cancelled"] == 40


async def test_more_than_may_be_open_is_not_read(held: HeldOip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MOST_OPEN", 4)
    read: list[int] = []

    async def asked() -> AsyncIterator[pb.ModelInferRequest]:
        for number in range(10):
            read.append(number)
            yield hold(number)

    stream = InferStream(held.oip.host, Work, asyncio.Event())
    collecting = asyncio.ensure_future(_collect(stream.answers(asked())))
    await eventually(lambda: len(read) == 5)  # four are open, one waits for room
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(read) == 5
    held.model.gate.set()
    answers = await collecting
    assert [array_of(one.infer_response, "Y").tolist() for one in answers] == [[[number]] for number in range(10)]


async def _collect(answers: AsyncIterable[pb.ModelStreamInferResponse]) -> list[pb.ModelStreamInferResponse]:
    return [one async for one in answers]


async def test_a_drain_ends_the_stream_once_what_was_begun_is_answered(held: HeldOip) -> None:
    call = held.oip.stub.ModelStreamInfer(metadata=held.oip.metadata)
    await call.write(hold(1))
    await held.until_begun()
    held.oip.draining.set()
    held.model.gate.set()
    assert [one.error_message for one in [one async for one in call]] == [""]
    assert await call.code() is grpc.StatusCode.OK


async def test_an_error_of_ours_ends_only_its_request(oip: Oip) -> None:
    wrong, good = await _answers(oip, request("wrong", ("X", "FP32", [[1]])), double([1] * 4))
    assert "gave float64" in wrong.error_message
    assert not good.error_message


async def test_a_user_may_not_stream(oip: Oip) -> None:
    call = oip.stub.ModelStreamInfer(_each([double([1] * 4)]), metadata=oip.server.as_user())
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _collect(call)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
