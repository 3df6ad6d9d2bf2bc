"""Small pictures drawn on the spot, for models to warm up on, to be timed with and to compare their answers by."""

from typing import Any

import numpy as np
import numpy.typing as npt

from inference_server.models.opencv import cv2
from inference_server.models.picture import Picture, PixelFormat

_BLUE, _WHITE, _INK = (20, 70, 190), (250, 250, 250), (30, 30, 30)
_PLATE = (220, 70)


def sample_line(text: str, width: int, height: int) -> Picture:
    """Draw dark print on white paper."""
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    _print(canvas, text, (height // 4, height * 3 // 4), height / 40, _INK)
    return _picture(canvas)


def sample_page(lines: tuple[str, ...], width: int, height: int) -> Picture:
    """Draw lines of dark print on white paper."""
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    for number, text in enumerate(lines, 1):
        _print(canvas, text, (width // 10, height * number // (len(lines) + 1)), height / 400, _INK)
    return _picture(canvas)


def sample_plate(text: str, width: int, height: int) -> Picture:
    """Draw a blue plate with white characters that fills the picture."""
    return _picture(cv2.resize(_plate(text), (width, height), interpolation=cv2.INTER_AREA))


def sample_scene(text: str, width: int, height: int) -> Picture:
    """Draw something like the back of a car with a blue plate on it."""
    shade = np.linspace(90, 160, height, dtype=np.uint8)[:, None, None]
    canvas = np.ascontiguousarray(np.broadcast_to(shade, (height, width, 3)))
    cv2.rectangle(canvas, (width // 8, height // 6), (width * 7 // 8, height * 7 // 8), (60, 60, 70), -1)
    plate = _plate(text)
    left, top = (width - _PLATE[0]) // 2, height // 2
    canvas[top : top + _PLATE[1], left : left + _PLATE[0]] = plate
    return _picture(canvas)


def _plate(text: str) -> npt.NDArray[np.uint8]:
    canvas = np.full((_PLATE[1], _PLATE[0], 3), _BLUE, dtype=np.uint8)
    cv2.rectangle(canvas, (3, 3), (_PLATE[0] - 4, _PLATE[1] - 4), _WHITE, 2)
    _print(canvas, text, (14, 50), 1.3, _WHITE)
    return canvas


def _print(
    canvas: npt.NDArray[np.uint8], text: str, place: tuple[int, int], scale: float, colour: tuple[int, int, int]
) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_DUPLEX, scale, colour, max(1, round(2 * scale)), cv2.LINE_AA)


def _picture(canvas: "npt.NDArray[Any] | cv2.typing.MatLike") -> Picture:
    height, width = canvas.shape[:2]
    return Picture(np.asarray(canvas, dtype=np.uint8).tobytes(), width, height, PixelFormat.RGB8)
