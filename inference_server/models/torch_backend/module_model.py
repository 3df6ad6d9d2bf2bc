"""A network of ours behind the model protocol: weights in, batches through it, on CPUs and on CUDA."""

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from inference_server.models.array_signature import ArraySignature
from inference_server.models.device import Runtime
from inference_server.models.manifest import Manifest
from inference_server.models.model import Arrays, ModelCard
from inference_server.models.tensor_files import read_tensors
from inference_server.models.torch_backend.architecture import Architecture
from inference_server.models.torch_backend.state import fill
from inference_server.models.weights import WeightsError

PLATFORM = "pytorch"
# On one GPU two batches at a time: one computes while the other is copied.
_INSTANCES_ON_CUDA = 2


class ModuleModel:
    """Runs one network on one device. On CPUs each instance runs on its share of the cores."""

    def __init__(
        self,
        identity: tuple[str, str],
        architecture: Architecture,
        manifest: Manifest,
        read: Callable[[], bytes],
        runtime: Runtime,
    ) -> None:
        """Take name and version; `read` returns the checked bytes of the weights when the model is loaded."""
        name, version = identity
        on_cpu, on_cuda = architecture.max_batch
        instances = manifest.instances or (runtime.cores if runtime.on_cpu else _INSTANCES_ON_CUDA)
        most = manifest.max_batch or (on_cpu if runtime.on_cpu else on_cuda)
        self.card = ModelCard(name, version, max_batch=most, instances=instances, platform=PLATFORM)
        self.signature = ArraySignature(architecture.inputs, architecture.outputs, batched=True)
        self._architecture = architecture
        self._shapes = manifest.samples
        self._read = read
        self._runtime = runtime
        self._device = torch.device("cpu") if runtime.on_cpu else torch.device("cuda", runtime.index)
        self._names = [spec.name for spec in architecture.outputs]
        self._local = threading.local()
        self._module: nn.Module | None = None

    def load(self) -> None:
        if not self._runtime.on_cpu and torch.cuda.device_count() <= self._runtime.index:
            raise WeightsError(f"CANDELA_DEVICE is cuda, and PyTorch sees no CUDA device {self._runtime.index}")
        with torch.device("meta"):
            module = self._architecture.build()
        fill(module, read_tensors(self._read(), f"the weights of {self.card.identity}"))
        module = self._architecture.prepare(module.eval().requires_grad_(requires_grad=False))
        if self._architecture.channels_last:
            module = module.to(memory_format=torch.channels_last)
        self._module = module.to(self._device)

    def samples(self) -> Sequence[Arrays]:
        return self.signature.samples(self._shapes)

    def warm_up(self) -> None:
        samples = self.samples()
        if not samples:
            return
        # A GPU takes its memory and chooses its algorithms by the shape, a CPU by the first run.
        for size in (1, 2) if self._runtime.on_cpu else (1, self.card.max_batch):
            self.run([samples[index % len(samples)] for index in range(size)])

    def bucket(self, item: Arrays) -> Hashable:
        return self.signature.bucket(item)

    def run(self, batch: Sequence[Arrays]) -> Sequence[Arrays]:
        if self._module is None:
            raise RuntimeError(f"the model {self.card.identity} is used before load()")
        self._enter_thread()
        with torch.inference_mode():
            inputs = [self._joined([item[spec.name] for item in batch]) for spec in self.signature.inputs]
            if self._runtime.on_cpu:
                arrays = _numpy(self._module(*inputs))
            else:
                with torch.cuda.stream(self._local.stream):
                    arrays = _numpy(self._module(*(one.to(self._device, non_blocking=True) for one in inputs)))
        # Views of the batch's outputs, and [index, ...] so that a number stays an array without dimensions.
        return [
            dict(zip(self._names, [array[index, ...] for array in arrays], strict=True)) for index in range(len(batch))
        ]

    def close(self) -> None:
        self._module = None
        if not self._runtime.on_cpu:
            torch.cuda.empty_cache()

    def _enter_thread(self) -> None:
        """Prepare the calling thread once: its share of the cores, or a stream of its own."""
        if hasattr(self._local, "ready"):
            return
        if self._runtime.on_cpu:
            # OpenMP counts for each thread that calls it, so models with other shares do not disturb this one.
            torch.set_num_threads(max(1, self._runtime.cores // self.card.instances))
        else:
            self._local.stream = torch.cuda.Stream(self._device)
        self._local.ready = True

    def _joined(self, arrays: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        """Return the items' arrays as one tensor, in the order in memory that the network likes."""
        shape = (len(arrays), *arrays[0].shape)
        pictures = self._architecture.channels_last and len(shape) == 4
        like = torch.channels_last if pictures else torch.contiguous_format
        kind = _kind(arrays[0].dtype)
        # Pinned memory is copied to a GPU without stopping for it; PyTorch keeps a pool of it.
        tensor = torch.empty(shape, dtype=kind, memory_format=like, pin_memory=not self._runtime.on_cpu)
        np.stack(arrays, out=tensor.numpy())
        return tensor


def _kind(dtype: np.dtype[Any]) -> torch.dtype:
    """Return PyTorch's name of an element type."""
    kind: torch.dtype = getattr(torch, "bool" if dtype.kind == "b" else dtype.name)
    return kind


def _numpy(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> list[npt.NDArray[Any]]:
    """Return the network's outputs on the host; waits for the device."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return [one.cpu().numpy() for one in several]
