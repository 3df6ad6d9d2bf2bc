"""The codec alone: whatever comes is items or a refusal, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.models.model import Signature, TensorSpec
from inference_server.oip import codec as codec_module
from inference_server.oip.codec import Codec
from inference_server.oip.datatypes import DATATYPES
from kserve import grpc_service_pb2 as pb
from services.kit.errors import InvalidArgument, Unimplemented
from tests.support.tensor_models import DATATYPES as NAMES
from tests.support.tensor_models import TensorModel, Tensors, double, echo, pair
from tests.unit.inference.oip.requests import request


def _codec(model: TensorModel) -> Codec:
    assert model.signature is not None
    signature: Signature[object, object] = model.signature  # type: ignore[assignment] # arrays in and out: any will do
    return Codec(model.card, signature)


_lengths = st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**62, -(2**63)]))
_shapes = st.one_of(st.sampled_from([[1, 4], [2, 4], [1, 1, 2], [2, 1, 2], [0], [1]]), st.lists(_lengths, max_size=4))
_raws = st.one_of(st.sampled_from([0, 4, 8, 16, 32]).map(bytes), st.binary(max_size=40))
_parameters = st.sampled_from(["shared_memory_region", "binary_data_size", "classification"])


@st.composite
def _contents(draw: st.DrawFn) -> pb.InferTensorContents:
    return pb.InferTensorContents(
        int_contents=draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)),
        fp32_contents=draw(st.lists(st.floats(width=32), max_size=4)),
        bytes_contents=draw(st.lists(st.binary(max_size=3), max_size=2)),
    )


@st.composite
def _requests(draw: st.DrawFn) -> pb.ModelInferRequest:
    asked = pb.ModelInferRequest(raw_input_contents=draw(st.lists(_raws, max_size=2)))
    for name in draw(st.lists(st.sampled_from(["A", "B", "X", ""]), max_size=3)):
        tensor = asked.inputs.add(name=name, datatype=draw(st.sampled_from(["INT32", "FP32", "BYTES", "", "FP128"])))
        tensor.shape.extend(draw(_shapes))
        if draw(st.integers(0, 4)) == 0:
            tensor.contents.CopyFrom(draw(_contents()))
        if draw(st.integers(0, 9)) == 0:
            tensor.parameters[draw(_parameters)].int64_param = 1
    for name in draw(st.lists(st.sampled_from(["TOTAL", "Y", ""]), max_size=2)):
        asked.outputs.add(name=name)
    return asked


@given(_requests(), st.sampled_from(["pair", "double", "echo-bytes"]))
@settings(max_examples=500)
def test_whatever_comes_is_items_or_a_refusal(asked: pb.ModelInferRequest, name: str) -> None:
    model = echo("BYTES") if name == "echo-bytes" else {"pair": pair, "double": double}[name]()
    assert model.signature is not None
    codec = _codec(model)
    try:
        codec.check_outputs(asked)
        items = codec.items(asked)
    except (InvalidArgument, Unimplemented):
        return
    assert items
    for item in items:
        assert set(item.value) == {spec.name for spec in model.signature.inputs}
        for spec in model.signature.inputs:
            array = item.value[spec.name]
            assert array.dtype == np.dtype(DATATYPES[spec.datatype].dtype)
            assert len(array.shape) == len(spec.shape)
            assert all(want in (-1, got) for got, want in zip(array.shape, spec.shape, strict=True))


@given(st.lists(st.lists(st.integers(-100, 100), min_size=4, max_size=4), min_size=1, max_size=9))
def test_a_batch_is_the_same_as_its_items_one_by_one(rows: list[list[int]]) -> None:
    codec = _codec(double())
    together = request("double", ("X", "FP32", rows))
    items = codec.items(together)
    assert [item.value["X"].tolist() for item in items] == rows
    results = [{"Y": item.value["X"], "SUM": item.value["X"].sum()} for item in items]
    whole = codec.response(together, results)
    for place, row in enumerate(rows):
        alone = codec.response(request("double", ("X", "FP32", [row])), results[place : place + 1])
        for output in range(2):
            width = len(alone.raw_output_contents[output])
            part = whole.raw_output_contents[output][place * width : (place + 1) * width]
            assert part == alone.raw_output_contents[output]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_module, "_MOST_KEPT", 4)
    codec = _codec(echo("UINT8"))
    for length in range(1, 30):
        asked = request("echo-uint8", ("X", "UINT8", [0] * length))
        (item,) = codec.items(asked)
        codec.response(asked, [{"Y": item.value["X"]}])
        assert len(codec._layouts) <= 4
        assert len(codec._templates) <= 4


def test_a_signature_of_unknown_datatypes_is_a_defect() -> None:
    assert set(NAMES) == set(DATATYPES)
    odd = Tensors((TensorSpec("X", "FP8", (1,)),), (TensorSpec("Y", "FP8", (1,)),), batched=True)
    with pytest.raises(KeyError):
        _codec(TensorModel("odd", odd, dict))
