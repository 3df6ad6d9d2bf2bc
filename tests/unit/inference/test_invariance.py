"""What is measured of a model's dependence on company, with models that depend on it in each way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from opentelemetry.trace import NoOpTracer

from inference_server.engine import Bounds, Engine, Item, Work
from inference_server.engine.invariance import Invariance, Kind, compare
from inference_server.models.model import ModelCard, TensorSpec
from services.kit.clock import SystemClock
from services.kit.errors import CandelaError, InvalidArgument

Array = npt.NDArray[Any]


class Vectors:
    """The signature of a model of vectors of two numbers."""

    inputs = outputs = (TensorSpec("x", "FP32", (2,)),)
    batched = True

    def item(self, arrays: Mapping[str, Array]) -> Array:
        return arrays["x"]

    def arrays(self, output: Array) -> Mapping[str, Array]:
        return {"x": output}


class Ruled:
    """Computes each item by a rule that is told the item, its place and the batch."""

    def __init__(self, rule: Callable[[Any, int, int], Any], *, signature: Vectors | None = None) -> None:
        self.card = ModelCard("ruled", "1", 16, 1)
        self.signature = signature
        self._rule = rule
        self.sizes: list[int] = []

    def load(self) -> None:
        """Holds nothing."""

    def warm_up(self) -> None:
        """Has nothing to warm."""

    def samples(self) -> Sequence[Any]:
        return [np.array([1.0, n], dtype=np.float32) for n in (2, 3, 5)] if self.signature else [1, 2, 3]

    def bucket(self, item: Any) -> str:
        return "all"

    def run(self, batch: Sequence[Any]) -> list[Any]:
        self.sizes.append(len(batch))
        return [self._rule(item, place, len(batch)) for place, item in enumerate(batch)]

    def close(self) -> None:
        """Holds nothing."""


def measured(rule: Callable[[Any, int, int], Any], *, arrays: bool = True) -> Invariance:
    model = Ruled(rule, signature=Vectors() if arrays else None)
    return compare(model.run, model, 16)


def test_a_model_that_sees_one_item_at_a_time_is_exact() -> None:
    found = measured(lambda item, place, size: item * 3)
    assert (found.kind, found.absolute, found.relative) == (Kind.EXACT, 0.0, 0.0)
    assert found.largest_batch == 16
    assert found.comparisons > 20


def test_rounding_that_depends_on_the_size_is_a_tolerance() -> None:
    found = measured(lambda item, place, size: item * np.float32(1 + 1e-6 * size))
    assert found.kind is Kind.TOLERANCE
    assert found.relative == pytest.approx(1.5e-5, rel=0.1)
    assert found.absolute == pytest.approx(5 * found.relative, rel=0.1)


@pytest.mark.parametrize(
    "rule",
    [
        lambda item, place, size: item * (1 + place % 2),  # another number
        lambda item, place, size: item[: 2 - (place == 3)],  # another shape
        lambda item, place, size: (item + (size == 8)).astype(np.int64),  # another label
        lambda item, place, size: InvalidArgument("crowded") if size > 3 else item,
    ],
)
def test_other_results_in_company_are_found(rule: Callable[[Any, int, int], Any]) -> None:
    assert measured(rule).kind is Kind.NOT_INVARIANT


def test_results_that_are_no_arrays_are_compared_as_they_are() -> None:
    assert measured(lambda item, place, size: f"text {item}", arrays=False).kind is Kind.EXACT
    assert measured(lambda item, place, size: f"text {item + (size == 16)}", arrays=False).kind is Kind.NOT_INVARIANT


def test_errors_that_come_alone_and_together_are_the_same() -> None:
    def rule(item: Array, place: int, size: int) -> Array | CandelaError:
        return InvalidArgument("three") if item[1] == 3 else item

    assert measured(rule).kind is Kind.EXACT


def test_without_time_nothing_is_claimed() -> None:
    model = Ruled(lambda item, place, size: item, signature=Vectors())
    assert compare(model.run, model, 16, seconds=0.0).comparisons == 0


async def test_an_engine_measures_once_and_publishes() -> None:
    model = Ruled(lambda item, place, size: item, signature=Vectors())
    engine: Engine[Array, Array] = Engine([model], SystemClock(), NoOpTracer(), Bounds(timing_seconds=0.0))
    engine.load()
    engine.open()
    assert engine.invariance is None
    found = await engine.measured_invariance()
    runs = len(model.sizes)
    assert await engine.measured_invariance() is found is engine.invariance
    assert len(model.sizes) == runs
    await engine.answers([Item(model.samples()[0], 8)], Work())
    await engine.close(5.0)
