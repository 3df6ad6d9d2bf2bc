"""Makes a network of ours with random weights.

`python -m inference_server.training.random_weights OUT small-conv width=2`

For measuring servers, whose speed does not depend on what the numbers mean; such a network knows nothing. OUT is a
model repository, the network becomes `OUT/small-conv/1`. One seed gives one file with one release of PyTorch.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inference_server.models.torch_backend import registry
from inference_server.training.repository_files import write

_SEED = 20_240


def drawn(architecture: str, options: Mapping[str, Any] | None = None, seed: int = _SEED) -> nn.Module:
    """Return a network whose weights keep the spread of the values through its layers, so that outputs differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = registry.architecture(architecture, options).build().eval()
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return module


def write_drawn(root: Path, architecture: str, options: Mapping[str, Any] | None = None, name: str = "") -> str:
    """Write such a network as version 1 into a repository, and return the SHA-256 of its weights."""
    module = drawn(architecture, options)
    return write(module, root / (name or architecture) / "1", architecture, options=dict(options or {}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes a network with random weights, for measuring servers.")
    parser.add_argument("out", type=Path, help="the repository's folder")
    parser.add_argument("architecture", help="the network: small-conv, yolo11-detector, crnn-reader")
    parser.add_argument("options", nargs="*", help="options of the network, such as width=2 or size=n")
    arguments = parser.parse_args()
    pairs = (option.partition("=") for option in arguments.options)
    options = {name: int(value) if value.isdigit() else value for name, _, value in pairs}
    digest = write_drawn(arguments.out, arguments.architecture, options)
    print(f"{arguments.out / arguments.architecture / '1'}: SHA-256 {digest}")


if __name__ == "__main__":
    main()
