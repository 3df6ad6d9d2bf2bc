"""A detector of objects with the published layers of YOLO11, in its five sizes. Our own code; no weights come with it.

Its sizes are checked against the published numbers of weights. With random weights it is good for measuring speed, and
for nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from inference_server.models.model import TensorSpec
from inference_server.models.torch_backend.architecture import Architecture
from inference_server.models.torch_backend.detector_blocks import (
    AttentionStage,
    ConvUnit,
    PyramidPool,
    SplitStage,
    folded,
)

STRIDES = (8, 16, 32)
DETECTIONS = 300
# A side of a box is a distribution over so many distances from the place, in units of the stride.
_DISTANCES = 16
_MAX_SIDE, _MAX_CLASSES = 1280, 1000


@dataclass(frozen=True, slots=True)
class Size:
    """What a size does to the description: repeats and channels are multiplied, channels first cut off at `most`."""

    repeats: float
    channels: float
    most: int
    deep: bool  # every stage has inner stages, not only the later ones

    def count(self, repeats: int) -> int:
        return max(1, round(repeats * self.repeats))

    def width(self, channels: int) -> int:
        """Return a number of channels, a multiple of 8."""
        return -(-int(min(channels, self.most) * self.channels) // 8) * 8


SIZES = {
    "n": Size(0.5, 0.25, 1024, deep=False),
    "s": Size(0.5, 0.5, 1024, deep=False),
    "m": Size(0.5, 1.0, 512, deep=True),
    "l": Size(1.0, 1.0, 512, deep=True),
    "x": Size(1.0, 1.5, 512, deep=True),
}


class Head(nn.Module):
    """Turns one scale's features into scores (places, classes) and boxes (places, 4) in pixels."""

    def __init__(self, before: int, stride: int, inner: tuple[int, int], classes: int) -> None:
        super().__init__()
        box, score = inner
        self.stride = stride
        self.box = nn.Sequential(ConvUnit(before, box, 3), ConvUnit(box, box, 3), nn.Conv2d(box, 4 * _DISTANCES, 1))
        self.score = nn.Sequential(
            ConvUnit(before, before, 3, groups=before), ConvUnit(before, score),
            ConvUnit(score, score, 3, groups=score), ConvUnit(score, score), nn.Conv2d(score, classes, 1),
        )  # fmt: skip

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, _, height, width = features.shape
        sides = self.box(features).reshape(batch, 4, _DISTANCES, height * width).softmax(2)
        steps = torch.arange(_DISTANCES, device=features.device, dtype=features.dtype)
        left, top, right, bottom = torch.einsum("bsdp,d->bsp", sides, steps).unbind(1)
        x = (torch.arange(width, device=features.device, dtype=features.dtype) + 0.5).repeat(height)
        y = (torch.arange(height, device=features.device, dtype=features.dtype) + 0.5).repeat_interleave(width)
        boxes = torch.stack((x - left, y - top, x + right, y + bottom), 2) * self.stride
        return self.score(features).flatten(2).transpose(1, 2), boxes


class Detector(nn.Module):
    """Pictures (N, 3, side, side), 0 to 1, to the 300 surest boxes of each: corners in pixels, scores, classes.

    With `dense` it gives every place's box, and its score for each class, in the order of the places.
    """

    def __init__(self, size: Size, classes: int, *, dense: bool) -> None:
        super().__init__()
        self.dense = dense
        two, width = size.count(2), size.width
        c64, c128, c256, c512, c1024 = (width(channels) for channels in (64, 128, 256, 512, 1024))
        self.fine = nn.Sequential(
            ConvUnit(3, c64, 3, 2),
            ConvUnit(c64, c128, 3, 2),
            SplitStage(c128, c256, two, deep=size.deep, share=0.25),
            ConvUnit(c256, c256, 3, 2),
            SplitStage(c256, c512, two, deep=size.deep, share=0.25),
        )
        self.middle = nn.Sequential(ConvUnit(c512, c512, 3, 2), SplitStage(c512, c512, two, deep=True))
        self.coarse = nn.Sequential(
            ConvUnit(c512, c1024, 3, 2),
            SplitStage(c1024, c1024, two, deep=True),
            PyramidPool(c1024),
            AttentionStage(c1024, two),
        )
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.to_middle = SplitStage(c1024 + c512, c512, two, deep=size.deep)
        self.to_fine = SplitStage(c512 + c512, c256, two, deep=size.deep)
        self.from_fine = ConvUnit(c256, c256, 3, 2)
        self.at_middle = SplitStage(c256 + c512, c512, two, deep=size.deep)
        self.from_middle = ConvUnit(c512, c512, 3, 2)
        self.at_coarse = SplitStage(c512 + c1024, c1024, two, deep=True)
        inner = max(16, c256 // 4, 4 * _DISTANCES), max(c256, min(classes, 100))
        self.heads = nn.ModuleList(
            Head(before, stride, inner, classes) for before, stride in zip((c256, c512, c1024), STRIDES, strict=True)
        )

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = [head(scale) for head, scale in zip(self.heads, self._scales(pictures), strict=True)]
        scores = torch.cat([scores for scores, _ in found], 1).sigmoid()
        boxes = torch.cat([boxes for _, boxes in found], 1)
        return (boxes, scores) if self.dense else _surest(boxes, scores)

    def _scales(self, pictures: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the features of each scale, after what the others know went up and down."""
        fine = self.fine(pictures)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        upper = self.to_middle(torch.cat((self.up(coarse), middle), 1))
        fine = self.to_fine(torch.cat((self.up(upper), fine), 1))
        middle = self.at_middle(torch.cat((self.from_fine(fine), upper), 1))
        coarse = self.at_coarse(torch.cat((self.from_middle(middle), coarse), 1))
        return fine, middle, coarse


def _surest(boxes: torch.Tensor, of_classes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the boxes with the highest scores; places are few in small pictures, and zeros fill up."""
    scores, classes = of_classes.max(2)
    count = min(DETECTIONS, scores.shape[1])
    best, places = scores.topk(count, 1)
    surest = boxes.gather(1, places.unsqueeze(2).expand(-1, -1, 4)), best, classes.gather(1, places)
    if count == DETECTIONS:
        return surest
    missing = DETECTIONS - count
    pad = nn.functional.pad
    return pad(surest[0], (0, 0, 0, missing)), pad(surest[1], (0, missing)), pad(surest[2], (0, missing))


def architecture(options: Mapping[str, Any]) -> Architecture:
    """Return the detector; options are `size` (n, s, m, l, x), `side` (a multiple of 32 pixels), `classes`, `dense`."""
    given = {"size": "m", "side": 640, "classes": 80, "dense": False, **options}
    size, side, classes, dense = given["size"], given["side"], given["classes"], given["dense"]
    if len(given) != 4 or not isinstance(size, str) or size not in SIZES or not isinstance(dense, bool):
        raise ValueError(f"its options are size (one of {', '.join(SIZES)}), side, classes and dense (true or false)")
    if type(side) is not int or not 32 <= side <= _MAX_SIDE or side % STRIDES[-1]:
        raise ValueError(f"side must be a multiple of {STRIDES[-1]} up to {_MAX_SIDE}")
    if type(classes) is not int or not 1 <= classes <= _MAX_CLASSES:
        raise ValueError(f"classes must be 1 to {_MAX_CLASSES}")
    return Architecture(
        inputs=[TensorSpec("pictures", "FP32", (3, side, side))],
        outputs=_outputs(side, classes, dense=dense),
        build=partial(Detector, SIZES[size], classes, dense=dense),
        max_batch=(16, 64),
        channels_last=True,
        prepare=folded,
    )


def _outputs(side: int, classes: int, *, dense: bool) -> list[TensorSpec]:
    if dense:
        places = sum((side // stride) ** 2 for stride in STRIDES)
        return [TensorSpec("boxes", "FP32", (places, 4)), TensorSpec("scores", "FP32", (places, classes))]
    return [
        TensorSpec("boxes", "FP32", (DETECTIONS, 4)),
        TensorSpec("scores", "FP32", (DETECTIONS,)),
        TensorSpec("classes", "INT64", (DETECTIONS,)),
    ]
