"""What the engine asks of a model. Everything else about a model is its own business."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from services.kit.errors import CandelaError

if TYPE_CHECKING:  # a server without models stays small
    import numpy.typing as npt

InputT_contra = TypeVar("InputT_contra", contravariant=True)
OutputT_co = TypeVar("OutputT_co", covariant=True)
InputT_co = TypeVar("InputT_co", covariant=True)
OutputT_contra = TypeVar("OutputT_contra", contravariant=True)
InputT = TypeVar("InputT")
PreparedT = TypeVar("PreparedT")
OutputT = TypeVar("OutputT")


class Placement(StrEnum):
    """Where an instance of a model computes."""

    THREAD = "thread"  # in this process: the model lets go of the interpreter while it computes
    PROCESS = "process"  # in a process of its own: the model is Python code, or may take its process down


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model's name and version, and how the engine should run it.

    `max_batch` is the most items that fit one batch on the model's device; how many are best the engine finds out.
    `instances` is how many batches the model runs at the same time, each on a thread or a process of its own.
    `platform` names the backend as the Open Inference Protocol does (`onnxruntime_onnx`, `pytorch`, `python`).
    """

    name: str
    version: str
    max_batch: int
    instances: int
    placement: Placement = Placement.THREAD
    platform: str = "python"

    def __post_init__(self) -> None:
        if self.max_batch < 1 or self.instances < 1:
            raise ValueError(f"model {self.name}: max_batch and instances must be at least 1")

    @property
    def identity(self) -> str:
        """The model as answers name it: `name@version`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a model as the Open Inference Protocol describes it, without the batch dimension.

    `datatype` is one of the protocol's names (FP32, UINT8, BYTES, …); -1 in `shape` stands for any length.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


Arrays: TypeAlias = "Mapping[str, npt.NDArray[Any]]"


class Signature(Protocol[InputT_co, OutputT_contra]):
    """How a model's items look as tensors, so that generic clients can use it."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What one item needs."""

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """What one item gives."""

    @property
    def batched(self) -> bool:
        """Whether tensors carry a batch dimension first; without it a request is one item."""

    def item(self, arrays: Arrays) -> InputT_co:
        """Make an item of one item's arrays, by name; raises InvalidArgument. The arrays are not copied nor changed."""

    def arrays(self, output: OutputT_contra) -> Arrays:
        """Return one item's output as arrays, by name."""


class Model(Protocol[InputT_contra, OutputT_co]):
    """One model. `load` comes first, once; then `warm_up`; then `bucket` and `run`, from several threads at once."""

    @property
    def card(self) -> ModelCard:
        """Name, version and batch limits; known before the model is loaded."""

    @property
    def signature(self) -> Signature[Any, Any] | None:
        """The model's tensors, known before it is loaded; None when generic clients cannot use it."""

    def load(self) -> None:
        """Read and verify the weights and make the model ready. Raises WeightsError; never touches the network."""

    def samples(self) -> Sequence[Any]:
        """Return items of common shapes, cheap to make: to warm up, to time batches, and to compare answers by."""

    def warm_up(self) -> None:
        """Run once over inputs of common shapes, so that the first request is no slower than the second."""

    def bucket(self, item: InputT_contra) -> Hashable:
        """Return the shape key of an input: only inputs with equal keys share a batch. Cheap, without effects."""

    def run(self, batch: Sequence[InputT_contra]) -> Sequence[OutputT_co | CandelaError]:
        """Compute a batch of one bucket: as many results, in the same order, each an output or why that item failed.

        An item's result does not depend on its neighbours beyond floating-point rounding. An exception fails the batch;
        the engine then runs its items one by one.
        """

    def close(self) -> None:
        """Give memory and handles back; nothing is called after it. May be called on a model that never loaded."""


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
