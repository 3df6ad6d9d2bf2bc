"""Boxes out of probability maps."""

import subprocess
import sys
from math import dist

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference_server.models.text_boxes import find_boxes


def a_map(*patches: tuple[float, float, float, float, float], certain: float = 0.9) -> npt.NDArray[np.float32]:
    """Return a map with rectangles, each given by centre, size and angle in degrees."""
    scores = np.zeros((200, 300), dtype=np.float32)
    for x, y, width, height, angle in patches:
        corners = cv2.boxPoints(((x, y), (width, height), angle))
        cv2.fillPoly(scores, [corners.round().astype(np.int32)], (certain,))
    return scores


def test_a_patch_is_grown_by_what_training_shrank_it() -> None:
    ((corners, score),) = find_boxes(a_map((150, 100, 100, 10, 0)))
    growth = 1.6 * 100 * 10 / (2 * (100 + 10))
    expected = ((100, 95), (200, 95), (200, 105), (100, 105))
    outward = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    for corner, (x, y), (right, down) in zip(corners, expected, outward, strict=True):
        assert corner == pytest.approx((x + right * growth, y + down * growth), abs=2.0)
    assert score == pytest.approx(0.9, abs=0.1)  # the edge of a patch counts, too


@pytest.mark.parametrize("angle", [-30, -4, 0, 4, 30])
def test_a_turned_patch_keeps_its_shape_and_its_upper_left_corner(angle: float) -> None:
    ((corners, _),) = find_boxes(a_map((150, 100, 120, 12, angle)))
    upper_left, upper_right, lower_right, lower_left = corners
    assert dist(upper_left, upper_right) == pytest.approx(dist(lower_left, lower_right), abs=0.01)
    assert dist(upper_left, lower_right) == pytest.approx(dist(upper_right, lower_left), abs=0.01)
    assert upper_left[0] < upper_right[0]
    assert upper_left[1] < lower_left[1]
    slope = np.degrees(np.arctan2(upper_right[1] - upper_left[1], upper_right[0] - upper_left[0]))
    assert slope == pytest.approx(angle, abs=2)


def test_every_patch_is_found() -> None:
    boxes = list(find_boxes(a_map((60, 40, 80, 12, 0), (200, 40, 80, 12, 0), (150, 150, 200, 12, 0))))
    assert sorted(round(corners[0][1] / 10) for corners, _ in boxes) == [3, 3, 13]


def test_a_patch_at_the_border_reaches_beyond_it() -> None:
    ((corners, _),) = find_boxes(a_map((20, 3, 60, 10, 0)))
    assert corners[0][0] < 0
    assert corners[0][1] < 0


@pytest.mark.parametrize(
    ("patches", "certain"),
    [
        ((), 0.9),
        (((150, 100, 100, 10, 0),), 0.4),  # above the pixels' threshold, below the boxes'
        (((150, 100, 1, 1, 0),), 0.9),  # a speck
    ],
)
def test_what_is_no_text_is_left_out(
    patches: tuple[tuple[float, float, float, float, float], ...], certain: float
) -> None:
    assert list(find_boxes(a_map(*patches, certain=certain))) == []


def test_the_package_of_the_weights_is_not_loaded() -> None:
    program = (
        "import inference_server.models.ppocr_detection, inference_server.models.ppocr_recognition, sys;"
        "sys.exit('rapidocr' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
