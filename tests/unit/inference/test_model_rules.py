"""What the engine relies on, shown for every model of the catalogue: order, lonely failures, any company, tensors."""

import pickle
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from inference_server.models.catalogue import CATALOGUE, Task
from inference_server.models.model import Model, TensorSpec
from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.text import LineCrop
from services.kit.errors import CandelaError, InvalidArgument
from tests.support.device import RUNTIME

AnyModel = Model[Any, Any]
Arrays = Mapping[str, npt.NDArray[Any]]

# How far a number of an answer may move with its company, relative to the largest one of its tensor; text never moves.
# On CPUs onnxruntime computes the rows of a batch alike, but for some products; CUDA picks its algorithms by shape.
_ON_CPU = {"ppocr-det": 0.0, "ppocr-rec": 1e-4, "plate-det": 1e-5, "plate-rec": 1e-5, "sentence-embed": 1e-5}
TOLERANCE = _ON_CPU if RUNTIME.on_cpu else dict.fromkeys(CATALOGUE, 1e-3)
DTYPES = {"FP32": np.float32, "UINT8": np.uint8, "UINT32": np.uint32, "BOOL": np.bool_, "BYTES": np.object_}
LIAR = Picture(b"\x00" * 11, 2, 2, PixelFormat.RGB8)
BAD: Mapping[Task, Any] = {
    Task.DETECT_TEXT: LIAR,
    Task.RECOGNIZE_TEXT: LineCrop(LIAR),
    Task.DETECT_PLATES: LIAR,
    Task.READ_PLATES: LIAR,
    Task.EMBED_TEXTS: "\u200b \t",
}


@cache
def loaded(name: str) -> AnyModel:
    model = CATALOGUE[name].create(RUNTIME)
    model.load()
    model.warm_up()
    return model


@pytest.fixture(params=CATALOGUE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> AnyModel:
    return loaded(name)


def shapes(model: AnyModel) -> Iterator[list[Any]]:
    """Give the model's samples, those that may share a batch together."""
    found: dict[Hashable, list[Any]] = {}
    for sample in model.samples():
        found.setdefault(model.bucket(sample), []).append(sample)
    yield from found.values()


def arrays_of(model: AnyModel, output: Any) -> Arrays:
    assert not isinstance(output, CandelaError), output
    assert model.signature is not None
    return model.signature.arrays(output)


def assert_alike(one: Arrays, other: Arrays, tolerance: float) -> None:
    assert one.keys() == other.keys()
    for tensor, expected in one.items():
        assert other[tensor].shape == expected.shape
        if expected.dtype.kind == "f":
            room = tolerance * float(np.abs(expected).max(initial=0.0))
            np.testing.assert_allclose(other[tensor], expected, rtol=0, atol=room, err_msg=tensor)
        else:
            np.testing.assert_array_equal(other[tensor], expected, err_msg=tensor)


def test_a_model_is_known_by_its_card_before_it_is_loaded(name: str) -> None:
    fresh = CATALOGUE[name].create(RUNTIME)
    assert fresh.card.name == name
    assert fresh.card.version
    assert fresh.signature is not None
    for sample in fresh.samples():
        assert hash(fresh.bucket(sample)) == hash(fresh.bucket(sample))
    copy = pickle.loads(pickle.dumps(fresh))  # noqa: S301 - our own, as an instance in a process gets it
    assert copy.card == fresh.card
    fresh.close()  # before it was loaded, and again
    fresh.close()


def test_samples_are_answered_in_their_order(model: AnyModel) -> None:
    assert len(model.samples()) >= 2
    for samples in shapes(model):
        alone = [arrays_of(model, model.run([sample])[0]) for sample in samples]
        if len(samples) > 1:
            assert any(not np.array_equal(alone[0][tensor], alone[1][tensor]) for tensor in alone[0])
        backwards = [arrays_of(model, output) for output in model.run(samples[::-1])]
        for one, other in zip(alone, backwards[::-1], strict=True):
            assert_alike(one, other, TOLERANCE[model.card.name])


def test_an_answer_is_the_same_in_any_company(model: AnyModel) -> None:
    first = next(shapes(model))
    alone = arrays_of(model, model.run(first[:1])[0])
    for size in sorted({2, 3, min(8, model.card.max_batch)}):
        crowd = [first[(place + 1) % len(first)] for place in range(size - 1)] + first[:1]
        *_, last = model.run(crowd)
        assert_alike(alone, arrays_of(model, last), TOLERANCE[model.card.name])


def test_one_bad_item_fails_alone(name: str, model: AnyModel) -> None:
    bad = BAD[CATALOGUE[name].task]
    samples = next(shapes(model))
    before, error, after = model.run([samples[0], bad, samples[0]])
    assert isinstance(error, InvalidArgument)
    assert_alike(arrays_of(model, before), arrays_of(model, after), TOLERANCE[name])
    (alone,) = model.run([bad])
    assert isinstance(alone, InvalidArgument)


def test_outputs_are_the_tensors_that_the_signature_names(model: AnyModel) -> None:
    assert model.signature is not None
    for sample in model.samples():
        arrays = arrays_of(model, model.run([sample])[0])
        assert list(arrays) == [spec.name for spec in model.signature.outputs]
        for spec in model.signature.outputs:
            assert_fits(arrays[spec.name], spec)


def assert_fits(array: npt.NDArray[Any], spec: TensorSpec) -> None:
    assert array.dtype == DTYPES[spec.datatype], spec.name
    assert len(array.shape) == len(spec.shape), spec.name
    assert all(wanted in (-1, side) for side, wanted in zip(array.shape, spec.shape, strict=True)), spec.name


def tensors_of(sample: Any) -> dict[str, npt.NDArray[Any]]:
    """Return a sample as a generic client would send it."""
    if isinstance(sample, str):
        return {"text": np.array([sample.encode("utf-8")], dtype=object)}
    picture = sample.picture if isinstance(sample, LineCrop) else sample
    pixels = np.frombuffer(picture.data, dtype=np.uint8).reshape(picture.height, picture.width, 3)
    return {"image": pixels, "crop": pixels}


def test_tensors_become_the_items_they_describe(model: AnyModel) -> None:
    assert model.signature is not None
    for sample in model.samples():
        sent = tensors_of(sample)
        wanted = {spec.name: sent[spec.name] for spec in model.signature.inputs if spec.name in sent}
        upright = replace(sample, detect_orientation=False) if isinstance(sample, LineCrop) else sample
        assert model.signature.item(wanted) == upright


def test_tensors_of_another_shape_are_refused(model: AnyModel) -> None:
    assert model.signature is not None
    name = model.signature.inputs[0].name
    for wrong in (np.zeros((2, 3), dtype=np.float32), np.array([b"\xff\xfe", b"x"], dtype=object), None):
        with pytest.raises(InvalidArgument) as error:
            model.signature.item({} if wrong is None else {name: wrong})
        assert error.value.metadata["tensor"] == name


def test_a_closed_model_is_not_used_by_mistake(name: str) -> None:
    once = CATALOGUE[name].create(RUNTIME)
    once.load()
    once.close()
    with pytest.raises(RuntimeError, match="before load"):
        once.run(next(shapes(once))[:1])
