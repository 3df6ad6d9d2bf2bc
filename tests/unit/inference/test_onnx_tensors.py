"""Graphs as models: the right tensors in and out, in any batch, with a bad item of its own."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.models.device import Runtime
from inference_server.models.manifest import Manifest
from inference_server.models.model import Arrays, TensorSpec
from inference_server.models.onnx_tensors import OnnxTensors
from inference_server.models.weights import WeightsError
from services.kit.errors import CandelaError, InvalidArgument
from tests.support import onnx_graphs as graphs


def model_of(graph: bytes, runtime: Runtime | None = None, **manifest: Any) -> OnnxTensors:
    return OnnxTensors(("m", "1"), Manifest(files={}, **manifest), graph, {}, runtime or Runtime(threads=1))


def loaded(graph: bytes, runtime: Runtime | None = None, **manifest: Any) -> OnnxTensors:
    model = model_of(graph, runtime, **manifest)
    model.load()
    return model


def outputs(model: OnnxTensors, *items: Arrays) -> list[Arrays]:
    """Runs a batch in which nothing fails."""
    results = model.run(items)
    assert len(results) == len(items)
    return [result for result in results if not isinstance(result, CandelaError)]


def ones(*shape: int) -> dict[str, Any]:
    return {"x": np.ones(shape, np.float32)}


def test_the_signature_is_known_before_the_model_is_loaded() -> None:
    model = model_of(graphs.doubling("N", 3))
    assert model.signature.inputs == (TensorSpec("x", "FP32", (3,)),)
    assert model.signature.outputs == (TensorSpec("y", "FP32", (3,)),)
    assert model.signature.batched
    assert model.card.max_batch == 64
    with pytest.raises(RuntimeError, match="before load"):
        model.run([ones(3)])


def test_a_batch_gives_each_item_its_own_result(runtime: Runtime) -> None:
    model = loaded(graphs.doubling("N", 3), runtime)
    items = [{"x": np.full(3, number, np.float32)} for number in range(5)]
    for size in (1, 2, 5):
        results = outputs(model, *items[:size])
        for number, result in enumerate(results):
            np.testing.assert_array_equal(model.signature.arrays(result)["y"], [2 * number] * 3)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=20))
def test_order_and_length_are_those_of_the_batch(numbers: list[int]) -> None:
    model = loaded(graphs.doubling("N", 1))
    results = outputs(model, *({"x": np.array([number], np.float32)} for number in numbers))
    assert [float(result["y"][0]) for result in results] == [2.0 * number for number in numbers]


def test_items_that_do_not_fit_are_refused() -> None:
    item = model_of(graphs.doubling("N", 3)).signature.item
    for wrong in (
        {},
        {"z": np.ones(3, np.float32)},
        {**ones(3), "more": np.ones(3)},
        ones(4),
        ones(3, 1),
        {"x": np.ones(3, np.float64)},
        {"x": np.ones(3, np.int32)},
    ):
        with pytest.raises(InvalidArgument):
            item(wrong)


def test_open_shapes_are_buckets() -> None:
    model = loaded(graphs.doubling("N", "L"))
    item = model.signature.item
    assert model.bucket(item(ones(2))) == model.bucket(item(ones(2))) != model.bucket(item(ones(3)))
    assert loaded(graphs.doubling("N", 3)).bucket(ones(3)) == ()
    assert outputs(model, ones(7))[0]["y"].shape == (7,)


def test_samples_follow_the_shapes_of_the_manifest() -> None:
    assert model_of(graphs.doubling("N", "L")).samples() == []
    model = loaded(graphs.doubling("N", "L"), samples=[{"x": [2]}, {"x": [5]}])
    model.warm_up()
    shapes = [sample["x"].shape for sample in model.samples()]
    assert shapes == [(2,)] * 3 + [(5,)] * 3
    values = [sample["x"].tolist() for sample in loaded(graphs.doubling("N", 3)).samples()]
    assert len({tuple(value) for value in values}) == 3, "equal samples would hide what neighbours do"
    assert values == [sample["x"].tolist() for sample in loaded(graphs.doubling("N", 3)).samples()]


@pytest.mark.parametrize("samples", [[{"z": [2]}], [{}], [{"x": [2, 2]}]])
def test_samples_that_do_not_fit_are_refused(samples: list[Mapping[str, list[int]]]) -> None:
    with pytest.raises(WeightsError, match="samples"):
        model_of(graphs.doubling("N", "L"), samples=samples)


def test_a_fixed_first_dimension_is_one_item() -> None:
    model = loaded(graphs.doubling(4, 3))
    assert not model.signature.batched
    assert model.card.max_batch == 1
    assert model.signature.inputs[0].shape == (4, 3)
    np.testing.assert_array_equal(outputs(model, model.signature.item(ones(4, 3)))[0]["y"], np.full((4, 3), 2))


def test_a_fixed_batch_is_filled_up() -> None:
    model = loaded(graphs.doubling(4, 3), max_batch=4)
    assert model.signature.batched
    assert model.signature.inputs[0].shape == (3,)
    for size in (1, 3, 4):
        results = outputs(model, *({"x": np.full(3, number + 1, np.float32)} for number in range(size)))
        assert [float(result["y"][0]) for result in results] == [2.0 * (number + 1) for number in range(size)]
    with pytest.raises(WeightsError, match=r"max_batch 8.*\[4\]"):
        model_of(graphs.doubling(4, 3), max_batch=8)


def test_max_batch_zero_is_no_batching() -> None:
    model = loaded(graphs.doubling("N", 3), max_batch=0)
    assert not model.signature.batched
    assert model.signature.inputs[0].shape == (-1, 3)
    assert outputs(model, ones(5, 3))[0]["y"].shape == (5, 3)


def test_texts_go_in_and_come_out() -> None:
    shape: list[int | str] = ["N", 2]
    graph = graphs.Graph(
        [graphs.value("x", graphs.STRING, shape)],
        [graphs.value("y", graphs.STRING, shape)],
        [graphs.node("Identity", ["x"], ["y"])],
    ).encoded()
    model = loaded(graph)
    assert model.signature.inputs[0].datatype == "BYTES"
    good = {"x": np.array([b"a", "é".encode()], dtype=object)}
    bad = {"x": np.array([b"a", b"\xff"], dtype=object)}
    first, second, third = model.run([good, bad, good])
    assert not isinstance(first, CandelaError)
    assert not isinstance(third, CandelaError)
    assert first["y"].tolist() == third["y"].tolist() == [b"a", "é".encode()]
    assert isinstance(second, InvalidArgument)


def test_an_output_without_a_place_for_each_item_is_no_result() -> None:
    graph = graphs.Graph(
        [graphs.value("x", graphs.FLOAT, ["N", 2])],
        [graphs.value("y", graphs.FLOAT, ["M", 2])],
        [
            graphs.node(
                "ReduceSum",
                ["x", "axes"],
                ["y"],
                graphs.part(5, graphs.part(1, "keepdims") + graphs.varint(3, 1) + graphs.varint(20, 2)),
            )
        ],
        [graphs.stored("axes", [1], np.array([0], np.int64).tobytes(), graphs.INT64)],
    ).encoded()
    model = loaded(graph)
    assert outputs(model, ones(2))[0]["y"].tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="no place for each item"):
        model.run([ones(2), ones(2)])


def test_numbers_without_dimensions_stay_arrays() -> None:
    graph = graphs.Graph(
        [graphs.value("x", graphs.FLOAT, ["N"])],
        [graphs.value("y", graphs.FLOAT, ["N"])],
        [graphs.node("Add", ["x", "x"], ["y"])],
    ).encoded()
    model = loaded(graph)
    results = outputs(model, {"x": np.array(1, np.float32)}, {"x": np.array(2, np.float32)})
    assert [result["y"].shape for result in results] == [(), ()]
    assert [float(result["y"]) for result in results] == [2.0, 4.0]


def test_graphs_that_clients_cannot_use_are_refused() -> None:
    bfloat = graphs.doubling(element=16)
    with pytest.raises(WeightsError, match="ONNX type 16"):
        model_of(bfloat)
    with pytest.raises(WeightsError, match="without inputs"):
        model_of(graphs.Graph([], [graphs.value("y", 1, [1])], []).encoded())


def test_a_graph_that_onnxruntime_refuses_is_a_weights_error() -> None:
    graph = graphs.Graph(
        [graphs.value("x", 1, ["N"])], [graphs.value("y", 1, ["N"])], [graphs.node("NoSuchOperator", ["x"], ["y"])]
    ).encoded()
    with pytest.raises(WeightsError, match="onnxruntime refuses"):
        model_of(graph).load()


def test_closing_needs_no_loading() -> None:
    model_of(graphs.doubling()).close()
    model = loaded(graphs.doubling())
    model.close()
    with pytest.raises(RuntimeError, match="before load"):
        model.run([ones(3)])
