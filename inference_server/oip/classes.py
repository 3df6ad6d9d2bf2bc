"""Triton's classification extension: in place of a tensor, its highest elements with their places."""

from typing import Any

import numpy as np

from inference_server.oip.datatypes import Datatype
from inference_server.oip.refusals import invalid
from inference_server.oip.tensors import Array

_PARAMETER = "classification"
_MOST_CLASSES = 1000


def class_count(output: Any, kind: Datatype) -> int:
    """Return how many classes a requested output asks for, 0 when it asks for the tensor itself."""
    if _PARAMETER not in output.parameters:
        return 0
    count = output.parameters[_PARAMETER].int64_param
    if not 1 <= count <= _MOST_CLASSES:
        raise invalid(
            f"output '{output.name}' asks for {count} classes; 1 to {_MOST_CLASSES} are given", output=output.name
        )
    if kind.name in ("BYTES", "BOOL", "BF16"):
        raise invalid(f"output '{output.name}' is of {kind.name}, which has no order for classes", output=output.name)
    return int(count)


def classified(array: Array, count: int, *, batched: bool) -> Array:
    """Return `value:index` of the `count` highest elements, highest first: of each item, or of the whole tensor.

    Fewer when there are fewer elements. Of equal elements the first one leads.
    """
    rows = array.reshape(len(array), -1) if batched else array.reshape(1, -1)
    best = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, :count]
    texts = np.empty(best.shape, np.object_)
    for row, places in enumerate(best):
        for rank, place in enumerate(places):
            texts[row, rank] = f"{rows[row, place]:f}:{place}".encode()
    return texts if batched else texts[0]
