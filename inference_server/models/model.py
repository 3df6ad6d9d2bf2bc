"""What the engine asks of a model. Everything else about a model is its own business."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from services.kit.errors import CandelaError

InputT_contra = TypeVar("InputT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)
InputT = TypeVar("InputT")
PreparedT = TypeVar("PreparedT")
OutputT = TypeVar("OutputT")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's name and version, and how the engine should run it.

    `max_batch` is the largest batch that still gains throughput on the model's device; `instances` is how many batches
    it runs at the same time, each on a thread of its own.
    """

    name: str
    version: str
    max_batch: int
    instances: int

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.instances < 1:
            raise ValueError(f"model {self.name}: max_batch and instances must be at least 1")

    @property
    def identity(self) -> str:
        """The model as answers name it: `name@version`."""
        return f"{self.name}@{self.version}"


class Model(Protocol[InputT_contra, OutputT_co]):
    """One model. `load` comes first, once; then `warm_up`; then `bucket` and `run`, from several threads at once."""

    @property
    def card(self) -> ModelCard:
        """Name, version and batch limits; known before the model is loaded."""

    def load(self) -> None:
        """Read and verify the weights and make the model ready. Raises WeightsError; never touches the network."""

    def warm_up(self) -> None:
        """Run once over inputs of common shapes, so that the first request is no slower than the second."""

    def bucket(self, item: InputT_contra) -> Hashable:
        """Return the shape key of an input: only inputs with equal keys share a batch. Cheap, without effects."""

    def run(self, batch: Sequence[InputT_contra]) -> Sequence[OutputT_co | CandelaError]:
        """Compute a batch of one bucket: as many results, in the same order, each an output or why that item failed.

        An item's result does not depend on its neighbours beyond floating-point rounding. An exception fails the batch.
        """


def run_prepared(
    batch: Sequence[InputT],
    prepare: Callable[[InputT], PreparedT],
    compute: Callable[[Sequence[PreparedT]], Sequence[OutputT]],
) -> list[OutputT | CandelaError]:
    """Prepare every item, compute those that could be together, and return what came of each in the batch's order.

    A CandelaError that `prepare` raises is that item's result and does not touch the others.
    """
    prepared = [_attempt(prepare, item) for item in batch]
    good = [one for one in prepared if not isinstance(one, CandelaError)]
    outputs = iter(compute(good) if good else ())
    return [one if isinstance(one, CandelaError) else next(outputs) for one in prepared]


def _attempt(prepare: Callable[[InputT], PreparedT], item: InputT) -> PreparedT | CandelaError:
    try:
        return prepare(item)
    except CandelaError as error:
        return error
