"""How what is wrong with a request is refused. Apart from tensors.py, which needs numpy and comes with a model."""

from collections.abc import Sequence
from typing import Final

from services.kit.errors import InvalidArgument

MOST_DIMENSIONS: Final = 32


def invalid(message: str, **metadata: str) -> InvalidArgument:
    """Return the error of a tensor or a parameter that is wrong; `metadata` repeats what the message names."""
    return InvalidArgument(message, metadata=metadata)


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape as Triton does: [-1,3,224]."""
    shown = ",".join(str(length) for length in shape[:MOST_DIMENSIONS])
    return f"[{shown}{',…' if len(shape) > MOST_DIMENSIONS else ''}]"
