"""A reader of text lines with the published layers of CRNN: convolutions, two LSTMs in both directions, CTC's scores.

Our own code; no weights come with it. With random weights it is good for measuring speed, and for nothing else.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from inference_server.models.model import TensorSpec
from inference_server.models.torch_backend.architecture import Architecture

HEIGHT = 32
# Channels of each convolution, how the sides shrink after it (rows, columns), and whether it is normalised.
_LAYERS = (
    (64, (2, 2), False),
    (128, (2, 2), False),
    (256, (1, 1), True),
    (256, (2, 1), False),
    (512, (1, 1), True),
    (512, (2, 1), False),
)
_HIDDEN = 256
_MAX_WIDTH, _MAX_CLASSES = 3200, 100_000


class LineReader(nn.Module):
    """Lines in gray (N, 1, 32, width) to scores (N, width / 4 - 1, classes); class 0 is CTC's blank."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for after, shrink, normalised in _LAYERS:
            layers += [nn.Conv2d(before, after, 3, padding=1), *([nn.BatchNorm2d(after)] if normalised else [])]
            layers += [nn.ReLU(inplace=True), *([nn.MaxPool2d(shrink)] if shrink != (1, 1) else [])]
            before = after
        self.features = nn.Sequential(*layers, nn.Conv2d(before, before, 2), nn.ReLU(inplace=True))
        self.sequence = nn.LSTM(before, _HIDDEN, num_layers=2, bidirectional=True, batch_first=True)
        self.scores = nn.Linear(2 * _HIDDEN, classes)

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        columns = self.features(lines).squeeze(2).transpose(1, 2)
        scores: torch.Tensor = self.scores(self.sequence(columns)[0]).softmax(2)
        return scores


def architecture(options: Mapping[str, Any]) -> Architecture:
    """Return the reader; options are `width` (pixels, a multiple of 4; 320) and `classes` (97)."""
    width, classes = options.get("width", 320), options.get("classes", 97)
    if options.keys() - {"width", "classes"}:
        raise ValueError("its options are width and classes")
    if type(width) is not int or not 16 <= width <= _MAX_WIDTH or width % 4:
        raise ValueError(f"width must be a multiple of 4 from 16 to {_MAX_WIDTH}")
    if type(classes) is not int or not 2 <= classes <= _MAX_CLASSES:
        raise ValueError(f"classes must be 2 to {_MAX_CLASSES}")
    return Architecture(
        inputs=[TensorSpec("lines", "FP32", (1, HEIGHT, width))],
        outputs=[TensorSpec("scores", "FP32", (width // 4 - 1, classes))],
        build=partial(LineReader, classes),
        max_batch=(32, 256),
        channels_last=True,
    )
