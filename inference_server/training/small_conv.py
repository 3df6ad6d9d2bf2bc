"""Makes the small network of convolutions from a seed: `python -m inference_server.training.small_conv OUT`.

It was never trained: it is for measuring servers, whose speed does not depend on what the numbers mean. OUT is a model
repository; the network becomes `OUT/small-conv/1`. The same seed gives the same bytes with the same release of PyTorch.
"""

import argparse
from pathlib import Path

import torch

from inference_server.models.torch_backend.small_conv import SmallConv
from inference_server.training.repository_files import write

_SEED = 20_240


def network(width: int = 1) -> SmallConv:
    """Return the network in evaluation mode, with its weights drawn from a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        made = SmallConv(width)
        made.eval()
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="the repository's folder")
    parser.add_argument("--width", type=int, default=1, help="multiplies the channels (default: 1)")
    arguments = parser.parse_args()
    folder = arguments.out / "small-conv" / "1"
    digest = write(network(arguments.width), folder, "small-conv", options={"width": arguments.width})
    print(f"{folder}: SHA-256 {digest}")


if __name__ == "__main__":
    main()
