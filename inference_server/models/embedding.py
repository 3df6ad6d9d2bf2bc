"""What embedding models give."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Embedding:
    """A text as a vector of length 1: 32-bit floats, little-endian, one after another, and how many tokens were read.

    Bytes and no array: they go into the answer as they are, and a server without models needs no numpy.
    """

    values: bytes
    tokens: int

    @property
    def dimensions(self) -> int:
        return len(self.values) // 4
