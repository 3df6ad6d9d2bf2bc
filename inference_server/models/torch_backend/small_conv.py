"""A small network of convolutions over pictures of 96 × 96 pixels: small models are where a server's own cost shows.

39 MFLOPs a picture (a multiplication and an addition count as two) and 110,298 weights; the option `width` (1 to 8)
multiplies the channels, and with its square the work.
"""

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from inference_server.models.model import TensorSpec
from inference_server.models.torch_backend.architecture import Architecture

SIDE, CLASSES = 96, 10
# Channels of each stage; every stage halves the sides.
_STAGES = (3, 16, 32, 64, 128)
_MAX_WIDTH = 8


class SmallConv(nn.Module):
    """Pictures (N, 3, 96, 96) to scores (N, 10): four stages of convolutions, the mean over places, one layer."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        stages = [_STAGES[0], *(channels * width for channels in _STAGES[1:])]
        for number, (before, after) in enumerate(pairwise(stages)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
            if number < 2:
                layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.scores = nn.Linear(stages[-1], CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.scores(self.features(pictures).mean(dim=(2, 3)))
        return scores


def architecture(options: Mapping[str, Any]) -> Architecture:
    """Return the network; the only option is `width`."""
    width = options.get("width", 1)
    if options.keys() - {"width"} or type(width) is not int or not 1 <= width <= _MAX_WIDTH:
        raise ValueError(f"its only option is width, a whole number from 1 to {_MAX_WIDTH}")
    return Architecture(
        inputs=[TensorSpec("pictures", "FP32", (3, SIDE, SIDE))],
        outputs=[TensorSpec("scores", "FP32", (CLASSES,))],
        build=partial(SmallConv, width),
        channels_last=True,
    )
