"""Lines cut out of a page, upright and flat, as a text-recognition model wants them."""

from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

from services.recognition.domain.documents import Box, Point
from services.recognition.domain.media import PageImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

# Detection does not gain from more pixels than this on the long side; reading does, so crops come from the full page.
DETECTION_SIDE = 2000
# A crop this much taller than wide holds writing that runs down the page.
_VERTICAL_RATIO = 1.5
# Larger writing than this is scaled down: the recognition model works on lines 48 pixels high.
_MAX_CROP_HEIGHT = 96


@dataclass(frozen=True, slots=True)
class Crop:
    """One line's pixels (RGB, row by row) and the box on the page whose content they show, named as it is read."""

    box: Box
    width: int
    height: int
    rgb: bytes


def pixels_of(page: PageImage) -> "Pixels":
    """Return the page as a height × width × 3 array over the same memory."""
    import numpy as np  # noqa: PLC0415  an idle service should not pay for it

    return np.frombuffer(page.rgb, dtype=np.uint8).reshape(page.height, page.width, 3)


def for_detection(pixels: "Pixels") -> tuple["Pixels", float]:
    """Return the page no larger than detection needs, and the factor that takes its pixels back to the page's."""
    import cv2  # noqa: PLC0415  see pixels_of
    import numpy as np  # noqa: PLC0415

    height, width = pixels.shape[:2]
    scale = DETECTION_SIDE / max(height, width)
    if scale >= 1.0:
        return pixels, 1.0
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), 1.0 / scale


def scaled(box: Box, factor: float) -> Box:
    """Return the box with every coordinate multiplied."""
    return Box(*(Point(p.x * factor, p.y * factor) for p in box.corners))


def cut(pixels: "Pixels", box: Box) -> Crop:
    """Cut one line out of a page and lay it flat. Writing that runs down the page is turned to run to the right."""
    import cv2  # noqa: PLC0415  see pixels_of
    import numpy as np  # noqa: PLC0415

    width = max(_distance(box.top_left, box.top_right), _distance(box.bottom_left, box.bottom_right))
    height = max(_distance(box.top_left, box.bottom_left), _distance(box.top_right, box.bottom_right))
    if height >= _VERTICAL_RATIO * width:
        box, width, height = box.turned_left(), height, width
    shrink = min(1.0, _MAX_CROP_HEIGHT / max(height, 1.0))
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    corners = np.array([(p.x, p.y) for p in box.corners], dtype=np.float32)
    flat = np.array([(0, 0), (size[0], 0), size, (0, size[1])], dtype=np.float32)
    matrix = cv2.getPerspectiveTransform(corners, flat)
    line = cv2.warpPerspective(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return Crop(box, size[0], size[1], line.tobytes())


def _distance(a: Point, b: Point) -> float:
    return hypot(b.x - a.x, b.y - a.y)
