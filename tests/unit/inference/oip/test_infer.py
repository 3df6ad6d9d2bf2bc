"""ModelInfer behind the kit's whole pipeline, over real engines."""

import asyncio
import struct
import time
from typing import Any

import numpy as np
import pytest

from inference_server.oip.datatypes import DATATYPES
from kserve import grpc_service_pb2 as pb
from services.kit.errors import (
    CandelaError,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unimplemented,
)
from tests.support.eventually import eventually
from tests.unit.inference.oip.conftest import HeldOip, Oip
from tests.unit.inference.oip.requests import array_of, double, hold, request


async def test_a_batch_comes_back_in_order_with_everything_that_names_it(oip: Oip) -> None:
    answer = await oip.infer(double([1, 2, 3, 4], [0, 0, 0, 1], id="seven"))
    assert (answer.model_name, answer.model_version, answer.id) == ("double", "2", "seven")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [
        ("Y", "FP32", [2, 4]),
        ("SUM", "FP32", [2]),
    ]
    assert array_of(answer, "Y").tolist() == [[3, 6, 9, 12], [0, 0, 0, 3]]
    assert array_of(answer, "SUM").tolist() == [10, 1]


async def test_a_version_is_chosen_and_the_newest_is_the_default(oip: Oip) -> None:
    await oip.host.load("double", "1")
    for version, factor in (("", 3), ("1", 2), ("2", 3)):
        answer = await oip.infer(double([1, 1, 1, 1], model_version=version))
        assert answer.model_version == (version or "2")
        assert array_of(answer, "Y").tolist() == [[factor] * 4]


async def test_only_the_requested_outputs_come_in_the_requested_order(oip: Oip) -> None:
    assert [one.name for one in (await oip.infer(double([1, 2, 3, 4], outputs=("SUM",)))).outputs] == ["SUM"]
    answer = await oip.infer(double([1, 2, 3, 4], outputs=("SUM", "Y")))
    assert [one.name for one in answer.outputs] == ["SUM", "Y"]
    assert array_of(answer, "SUM").tolist() == [10]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
async def test_every_datatype_passes_bit_by_bit(oip: Oip, datatype: str) -> None:
    values = np.arange(5).astype(DATATYPES[datatype].dtype)
    answer = await oip.infer(request(f"echo-{datatype.lower()}", ("X", datatype, values)))
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (datatype, [5])
    assert answer.raw_output_contents[0] == values.tobytes()


async def test_bytes_pass_with_their_lengths(oip: Oip) -> None:
    raw = b"".join(struct.pack("<I", len(one)) + one for one in (b"", b"\0\xff", "灯".encode()))
    asked = pb.ModelInferRequest(model_name="echo-bytes", raw_input_contents=[raw])
    asked.inputs.add(name="X", datatype="BYTES", shape=[3])
    assert (await oip.infer(asked)).raw_output_contents[0] == raw


async def test_typed_contents_mean_the_same(oip: Oip) -> None:
    asked = pb.ModelInferRequest(model_name="double")
    asked.inputs.add(
        name="X",
        datatype="FP32",
        shape=[1, 4],
        contents=pb.InferTensorContents(fp32_contents=[1, 2, 3, 4]),
    )
    assert array_of(await oip.infer(asked), "Y").tolist() == [[3, 6, 9, 12]]


async def test_inputs_are_matched_by_name(oip: Oip) -> None:
    answer = await oip.infer(request("pair", ("B", "INT32", [[[1, 2]]]), ("A", "INT32", [[[10, 20]]])))
    assert array_of(answer, "TOTAL").tolist() == [[[11, 22]]]


def _with(asked: pb.ModelInferRequest, **parameters: Any) -> pb.ModelInferRequest:
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(asked.parameters[name], kind, value)
    return asked


def _raw(asked: pb.ModelInferRequest, *raws: bytes) -> pb.ModelInferRequest:
    del asked.raw_input_contents[:]
    asked.raw_input_contents.extend(raws)
    return asked


def _shaped(*shape: int) -> pb.ModelInferRequest:
    asked = double([1, 2, 3, 4])
    asked.inputs[0].shape[:] = shape
    return asked


def _both_contents() -> pb.ModelInferRequest:
    asked = double([1, 2, 3, 4])
    asked.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    return asked


def _shared(asked: pb.ModelInferRequest) -> pb.ModelInferRequest:
    asked.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    return asked


def _classes(count: int) -> pb.ModelInferRequest:
    asked = double([1, 2, 3, 4], outputs=("Y",))
    asked.outputs[0].parameters["classification"].int64_param = count
    return asked


A = ("A", "INT32", [[[1, 2]]])
X = ("X", "FP32", [[1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("asked", "kind", "complaint"),
    [
        (request("nobody", X), NotFound, "Request for unknown model: 'nobody' is not found"),
        (double([1, 2, 3, 4], model_version="9"), NotFound, "'double' version 9 is not found"),
        (request("", X), InvalidArgument, "names no model"),
        (request("wordless", X), Unimplemented, "no tensors"),
        (
            request("pair", A),
            InvalidArgument,
            r"expected 2 inputs but got 1 inputs .*missing required input\(s\) \['B'\]",
        ),
        (request("pair", A, A), InvalidArgument, "'A' is given more than once"),
        (request("pair", A, ("C", "INT32", [[[1, 2]]])), InvalidArgument, "unexpected inference input 'C'"),
        (request("double", X, A), InvalidArgument, "unexpected inference input 'A'"),
        (
            request("double", ("X", "FP64", [[1, 2, 3, 4]])),
            InvalidArgument,
            "'FP64', but model 'double' expects 'FP32'",
        ),
        (request("double", ("X", "FP32", [1, 2, 3, 4])), InvalidArgument, r"expected \[-1,4\], got \[4\]"),
        (request("double", ("X", "FP32", [[1, 2, 3]])), InvalidArgument, r"expected \[-1,4\], got \[1,3\]"),
        (_shaped(0, 4), InvalidArgument, "batch of 0"),
        (_shaped(-1, 4), InvalidArgument, "no tensor has"),
        (_shaped(4097, 4), InvalidArgument, "batch of 4097"),
        (_shaped(2**62, 4), InvalidArgument, "too large"),
        (_shaped(2, 4), InvalidArgument, "has 16 bytes"),
        (_shaped(*[1] * 100_000), InvalidArgument, "no tensor has"),
        (request("double", *[X] * 50_000), InvalidArgument, "'X' is given more than once"),
        (_classes(0), InvalidArgument, "asks for 0 classes"),
        (_classes(1001), InvalidArgument, "asks for 1001 classes"),
        (_raw(double([1, 2, 3, 4]), b"123"), InvalidArgument, "has 3 bytes"),
        (_raw(double([1, 2, 3, 4]), bytes(16), bytes(16)), InvalidArgument, "expected 1 raw_input_contents"),
        (_raw(double([1, 2, 3, 4])), InvalidArgument, "has 0 elements"),
        (_both_contents(), InvalidArgument, "must not be specified when using raw_input_contents"),
        (
            request("pair", A, ("B", "INT32", [[[1, 2]], [[3, 4]]])),
            InvalidArgument,
            "'B' has a batch of 2, and the input before of 1",
        ),
        (double([1, 2, 3, 4], outputs=("Z",)), InvalidArgument, "unexpected inference output 'Z'"),
        (double([1, 2, 3, 4], outputs=("Y", "Y")), InvalidArgument, "more than once"),
        (double([1, 2, 3, 4], [-1, 0, 0, 0]), InvalidArgument, "X must not be negative"),
        (request("ragged", ("N", "INT32", [[1], [2]])), InvalidArgument, "different shapes"),
        (request("wrong", ("X", "FP32", [[1]])), Internal, "gave float64 for its output Y of FP32"),
        (_with(double([1, 2, 3, 4]), sequence_id=5), Unimplemented, "sequence_id"),
        (_with(double([1, 2, 3, 4]), sequence_id="s", sequence_start=True), Unimplemented, "sequence_id"),
        (_with(double([1, 2, 3, 4]), priority=-1), InvalidArgument, "'priority' is -1"),
        (_with(double([1, 2, 3, 4]), timeout="soon"), InvalidArgument, "'timeout' is 'soon'"),
        (_shared(double([1, 2, 3, 4])), Unimplemented, "shared memory"),
    ],
)
async def test_what_is_wrong_is_named(
    oip: Oip, asked: pb.ModelInferRequest, kind: type[CandelaError], complaint: str
) -> None:
    error = await oip.refusal(oip.infer(asked))
    assert type(error) is kind
    with pytest.raises(kind, match=complaint):
        raise error


async def test_parameters_of_others_are_ignored(oip: Oip) -> None:
    asked = _with(double([1, 2, 3, 4]), binary_data_output=True, mine="x", sequence_id=0, priority=0, timeout=0)
    assert array_of(await oip.infer(asked), "SUM").tolist() == [10]


async def test_a_ragged_model_answers_items_that_agree(oip: Oip) -> None:
    answer = await oip.infer(request("ragged", ("N", "INT32", [[3], [3]])))
    assert array_of(answer, "Y").tolist() == [[0, 1, 2], [0, 1, 2]]


async def test_classification_gives_the_highest_places(oip: Oip) -> None:
    asked = double([1, 4, 3, 4], [0, 0, 2, 0], outputs=("Y",))
    asked.outputs[0].parameters["classification"].int64_param = 2
    answer = await oip.infer(asked)
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 2])
    texts = [b"12.000000:1", b"12.000000:3", b"6.000000:2", b"0.000000:0"]
    assert answer.raw_output_contents[0] == b"".join(struct.pack("<I", len(one)) + one for one in texts)


async def test_the_timeout_of_a_request_counts_in_the_queue(held: HeldOip) -> None:
    first = asyncio.ensure_future(held.oip.infer(hold(1)))
    await held.until_begun()
    late = asyncio.ensure_future(held.oip.infer(_with(hold(2), timeout=20_000)))
    await eventually(lambda: held.engine.waiting == 1)
    over = time.monotonic() + 0.03
    await eventually(lambda: time.monotonic() > over)
    held.model.gate.set()
    assert type(await held.oip.refusal(late)) is DeadlineExceeded
    assert array_of(await first, "Y").tolist() == [[1]]
    assert held.model.batches == [1]


async def test_the_urgent_go_first(held: HeldOip) -> None:
    first = asyncio.ensure_future(held.oip.infer(hold(0)))
    await held.until_begun()
    levels = (3, 0, 1, 9)  # low, the default, high, beyond: as the default
    calls = [asyncio.ensure_future(held.oip.infer(_with(hold(one), priority=one))) for one in levels for _ in range(8)]
    await eventually(lambda: held.engine.waiting == len(calls))
    held.model.gate.set()
    await asyncio.gather(first, *calls)
    order = held.model.order[1:]
    assert order[:8] == [1] * 8
    assert sorted(order[8:24]) == [0] * 8 + [9] * 8
    assert order[24:] == [3] * 8


async def test_a_call_that_goes_away_is_taken_out_of_the_queue(held: HeldOip) -> None:
    first = asyncio.ensure_future(held.oip.infer(hold(1)))
    await held.until_begun()
    call = held.oip.stub.ModelInfer(hold(2), metadata=held.oip.metadata)
    await eventually(lambda: held.engine.waiting == 1)
    call.cancel()
    await eventually(lambda: held.engine.waiting == 0)
    held.model.gate.set()
    await first
    assert held.model.batches == [1]


async def test_only_services_may_call(oip: Oip) -> None:
    asked = double([1, 2, 3, 4])
    assert type(await oip.refusal(oip.stub.ModelInfer(asked))) is Unauthenticated
    user = oip.server.as_user("u1", role="ADMIN")
    assert type(await oip.refusal(oip.stub.ModelInfer(asked, metadata=user))) is PermissionDenied
    assert type(await oip.refusal(oip.stub.ServerLive(pb.ServerLiveRequest(), metadata=user))) is PermissionDenied
