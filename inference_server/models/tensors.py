"""From pictures to the float tensors of PP-OCR: resized, in BGR planes, scaled as each network was trained."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference_server.models.opencv import cv2
from inference_server.models.picture import Picture, PixelFormat

# Which channels hold blue, green and red, the order PP-OCR was trained with.
_BLUE_GREEN_RED = {PixelFormat.RGB8: (2, 1, 0), PixelFormat.BGR8: (0, 1, 2), PixelFormat.GRAY8: (0, 0, 0)}


@dataclass(frozen=True, slots=True)
class Pixels:
    """A picture as an array (height, width, channels) of bytes: a view, never a copy."""

    array: npt.NDArray[np.uint8]
    format: PixelFormat

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        return int(self.array.shape[0])

    @classmethod
    def of(cls, picture: Picture) -> "Pixels":
        """View the picture's bytes; raises InvalidArgument when it is not what it says."""
        picture.checked()
        flat = np.frombuffer(picture.data, dtype=np.uint8)
        return cls(flat.reshape(picture.height, picture.width, picture.format.channels), picture.format)


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a network expects of its planes: (value / 255 - mean) / deviation, in the order of the planes."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


# The recognition and orientation networks: -1 … 1.
SYMMETRIC = Scaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def fill_planes(
    out: npt.NDArray[np.float32], pixels: Pixels, width: int, height: int, scaling: Scaling = SYMMETRIC
) -> None:
    """Write `pixels`, resized to width × height, into the upper left corner of `out` (3, H, W); the rest is untouched.

    With SYMMETRIC the values are those of rapidocr's own pre-processing, bit for bit; it works on one picture at a time
    and through a float64 copy of it, which costs five times as much.
    """
    resized = cv2.resize(np.ascontiguousarray(pixels.array), (width, height), interpolation=cv2.INTER_LINEAR)
    resized = resized.reshape(height, width, pixels.format.channels)  # OpenCV drops the axis of a single channel
    region = out[:, :height, :width]
    channels = zip(region, _BLUE_GREEN_RED[pixels.format], scaling.mean, scaling.deviation, strict=True)
    for plane, channel, mean, deviation in channels:
        np.multiply(resized[:, :, channel], np.float32(1 / (255 * deviation)), out=plane)
        np.subtract(plane, np.float32(mean / deviation), out=plane)
