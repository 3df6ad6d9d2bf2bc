"""Puts the tensors of a file into a network: every one has its place, its shape and its kind, or nothing is loaded."""

from collections.abc import Mapping

import torch
from torch import nn

from inference_server.models.tensor_files import Tensor
from inference_server.models.weights import WeightsError

_SHOWN = 5
_FLOATS = ("F64", "F32", "F16", "BF16")


def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network (made on the `meta` device, without memory) its weights; raises WeightsError.

    Floats of another width become those of the network.
    """
    wanted = module.state_dict()
    _compare("lacks", wanted.keys() - tensors.keys())
    _compare("has what the network does not know:", tensors.keys() - wanted.keys())
    _compare(
        "has in another shape",
        {name for name, tensor in tensors.items() if tensor.values.shape != tuple(wanted[name].shape)},
    )
    _compare(
        "has as another kind of number",
        {name for name, tensor in tensors.items() if (tensor.kind in _FLOATS) != wanted[name].is_floating_point()},
    )
    state = {name: _tensor(tensor).to(wanted[name].dtype) for name, tensor in tensors.items()}
    module.load_state_dict(state, strict=True, assign=True)


def _tensor(tensor: Tensor) -> torch.Tensor:
    # A copy: the file's bytes are read-only, and the network must not keep all of them alive.
    copy = torch.from_numpy(tensor.values.copy())
    return copy.view(torch.bfloat16) if tensor.kind == "BF16" else copy


def _compare(what: str, names: set[str]) -> None:
    if names:
        shown = sorted(names)[:_SHOWN]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise WeightsError(f"the file {what} {', '.join(shown)}{more}")
