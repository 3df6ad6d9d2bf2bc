"""Decoded pictures as callers send them. Standard library only: a server without models needs no numpy."""

from dataclasses import dataclass
from enum import Enum

from services.kit.errors import InvalidArgument

MAX_SIDE = 65_500
MAX_PIXELS = 50_000_000


class PixelFormat(Enum):
    """The layout of a picture's bytes; the value is a name and the number of bytes a pixel."""

    RGB8 = ("rgb", 3)
    BGR8 = ("bgr", 3)
    GRAY8 = ("gray", 1)

    @property
    def channels(self) -> int:
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: rows from the top, without padding. Sides in pixels; see `checked` for its limits."""

    data: bytes
    width: int
    height: int
    format: PixelFormat

    def checked(self) -> "Picture":
        """Return this picture if it is what it says.

        Raises InvalidArgument when a side is not 1 to 65,500 pixels, the area is above 50,000,000 pixels, or `data` is
        not exactly width × height × bytes-a-pixel long.
        """
        size = f"{self.width}×{self.height}"
        about = {"width": str(self.width), "height": str(self.height)}
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise InvalidArgument(
                f"a picture of {size} pixels: each side must be 1 to {MAX_SIDE}",
                metadata=about | {"max_side": str(MAX_SIDE)},
            )
        if self.width * self.height > MAX_PIXELS:
            raise InvalidArgument(
                f"a picture of {size} pixels is larger than {MAX_PIXELS} pixels",
                reason="MEDIA_TOO_LARGE",
                metadata=about | {"max_pixels": str(MAX_PIXELS)},
            )
        expected = self.width * self.height * self.format.channels
        if len(self.data) != expected:
            raise InvalidArgument(
                f"a {self.format.name} picture of {size} pixels has {expected} bytes, not {len(self.data)}",
                metadata=about | {"expected_bytes": str(expected), "actual_bytes": str(len(self.data))},
            )
        return self
