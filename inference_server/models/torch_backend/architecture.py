"""What a network of ours says about itself, so that the rest of the backend needs to know no network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from inference_server.models.model import TensorSpec


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network without its weights.

    `build` makes it; its `forward` takes one batched tensor for each of `inputs`, in their order, and returns one, or a
    tuple, for `outputs`. `prepare` changes the network for inference once the weights are in it, such as folding
    normalisations into convolutions. `max_batch` is the most items of a batch on a CPU and on a GPU. With
    `channels_last` pictures lie pixel by pixel in memory, which convolutions are faster with.
    """

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    build: Callable[[], nn.Module]
    max_batch: tuple[int, int] = (64, 256)
    channels_last: bool = False
    prepare: Callable[[nn.Module], nn.Module] = lambda module: module
