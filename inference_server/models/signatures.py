"""What the signatures of built-in models share: pictures and texts as tensors of the Open Inference Protocol."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from inference_server.models.model import Arrays, TensorSpec
from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.text import Character, Corner
from services.kit.errors import InvalidArgument

_PICTURE = (-1, -1, 3)
# What each character that was read gives, with their names in the protocol.
CHARACTER_TENSORS = (
    TensorSpec("characters", "BYTES", (-1,)),
    TensorSpec("character_confidences", "FP32", (-1,)),
    TensorSpec("character_extents", "FP32", (-1, 2)),
)


def picture_tensor(name: str) -> TensorSpec:
    """Return a picture as a tensor: rows from the top, pixels, then red, green and blue."""
    return TensorSpec(name, "UINT8", _PICTURE)


def picture_of(arrays: Arrays, name: str) -> Picture:
    """Return the picture in a tensor (height, width, 3); raises InvalidArgument for another shape or type."""
    array = taken(arrays, name)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise InvalidArgument(
            f"{name} must be UINT8 of shape (height, width, 3), not {array.dtype} of {array.shape}",
            metadata={"tensor": name, "shape": str(array.shape)},
        )
    height, width, _ = array.shape
    return Picture(array.tobytes(), width, height, PixelFormat.RGB8).checked()


def text_of(arrays: Arrays, name: str) -> str:
    """Return the text of a BYTES tensor (1); raises InvalidArgument for another shape or bytes that are not UTF-8."""
    array = taken(arrays, name)
    if array.size != 1:
        raise InvalidArgument(f"{name} must hold one text, not {array.size}", metadata={"tensor": name})
    value = array.reshape(-1)[0]
    try:
        return value if isinstance(value, str) else bytes(value).decode("utf-8")
    except (UnicodeDecodeError, TypeError) as error:
        raise InvalidArgument(f"{name} must be BYTES that hold UTF-8", metadata={"tensor": name}) from error


def taken(arrays: Arrays, name: str) -> npt.NDArray[Any]:
    """Return an array by its tensor's name; raises InvalidArgument when it was not sent."""
    try:
        return arrays[name]
    except KeyError:
        raise InvalidArgument(f"the tensor {name} is missing", metadata={"tensor": name}) from None


def texts(values: Iterable[str]) -> npt.NDArray[Any]:
    """Return texts as a BYTES tensor of one dimension."""
    encoded = [value.encode("utf-8") for value in values]
    array = np.empty(len(encoded), dtype=object)
    array[:] = encoded
    return array


def floats(values: Sequence[Any], *shape: int) -> npt.NDArray[np.float32]:
    """Return numbers as an FP32 tensor of a shape, which may have one side -1 and hold for no numbers at all."""
    known = [side if side >= 0 else len(values) for side in shape]
    return np.asarray(values, dtype=np.float32).reshape(known)


def character_arrays(characters: Sequence[Character]) -> Arrays:
    """Return characters as the tensors of CHARACTER_TENSORS; extents are fractions of the crop's width."""
    return {
        "characters": texts(one.text for one in characters),
        "character_confidences": floats([one.confidence for one in characters], -1),
        "character_extents": floats([(one.start, one.end) for one in characters], -1, 2),
    }


class Found(Protocol):
    """A place on a picture: its corners from the upper left clockwise in pixels, and a score from 0 to 1."""

    @property
    def corners(self) -> tuple[Corner, Corner, Corner, Corner]: ...

    @property
    def score(self) -> float: ...


class DetectionSignature:
    """A picture in; corners (from the upper left clockwise, in its pixels) and scores of what was found on it out."""

    inputs = (picture_tensor("image"),)
    outputs = (TensorSpec("boxes", "FP32", (-1, 4, 2)), TensorSpec("scores", "FP32", (-1,)))
    batched = False

    def item(self, arrays: Arrays) -> Picture:
        return picture_of(arrays, "image")

    def arrays(self, output: Sequence[Found]) -> Arrays:
        return {
            "boxes": floats([one.corners for one in output], -1, 4, 2),
            "scores": floats([one.score for one in output], -1),
        }
