"""Where a detector's probability map says that lines of text lie.

The steps and their numbers are those of PaddleOCR's post-processing for Differentiable Binarization: the outline of
each patch above a threshold, the smallest rectangle around it, its mean probability, and the rectangle grown by what
training shrank it. rapidocr's implementation of the same rounds corners to whole pixels, which bends rectangles into
trapezoids and shifts words by up to 10 pixels; and importing it loads 16 MB of packages and takes half a second.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from inference_server.models.opencv import cv2

Corners = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

_PIXEL_THRESHOLD = 0.3
_BOX_THRESHOLD = 0.5
# Training shrinks each region; the found one is grown on every side by this × its area / its perimeter.
_GROWTH = 1.6
_MOST_BOXES = 1000
# Shorter sides of a patch and of a grown rectangle, in pixels of the map, below which there is no text.
_MIN_PATCH_SIDE = 3
_MIN_BOX_SIDE = 5
_JOIN = np.ones((2, 2), dtype=np.uint8)


def find_boxes(scores: npt.NDArray[np.float32]) -> Iterator[tuple[Corners, float]]:
    """Give the corners of each line, from the upper left clockwise in pixels of the map (H, W), and its score."""
    mask = cv2.dilate((scores > _PIXEL_THRESHOLD).astype(np.uint8), _JOIN)
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    for outline in outlines[:_MOST_BOXES]:
        centre, (width, height), angle = cv2.minAreaRect(outline)
        if min(width, height) < _MIN_PATCH_SIDE:
            continue
        score = _mean_inside(scores, cv2.boxPoints((centre, (width, height), angle)))
        if score < _BOX_THRESHOLD:
            continue
        growth = _GROWTH * width * height / (width + height)  # on both sides together
        grown = (width + growth, height + growth)
        if min(grown) >= _MIN_BOX_SIDE:
            yield _clockwise(cv2.boxPoints((centre, grown, angle)).tolist()), score


def _mean_inside(scores: npt.NDArray[np.float32], corners: npt.NDArray[Any]) -> float:
    """Return the mean probability inside a rectangle, cut off at the borders of the map."""
    height, width = scores.shape
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1)).tolist()
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (width - 1, height - 1)).tolist()
    inside = np.zeros((bottom - top + 1, right - left + 1), dtype=np.uint8)
    cv2.fillPoly(inside, [(corners - (left, top)).astype(np.int32)], (1,))
    return float(cv2.mean(scores[top : bottom + 1, left : right + 1], inside)[0])


def _clockwise(points: list[list[float]]) -> Corners:
    """Order corners: the two on the left by height, then the two on the right, the upper left one first."""
    by_x = sorted((x, y) for x, y in points)
    upper_left, lower_left = sorted(by_x[:2], key=lambda point: point[1])
    upper_right, lower_right = sorted(by_x[2:], key=lambda point: point[1])
    return upper_left, upper_right, lower_right, lower_left
