"""The protocol's datatypes: how each lies in memory, in which field it may be typed out, and what Triton calls it."""

from dataclasses import dataclass
from typing import Final

from kserve import model_config_pb2


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype. `width` is in bytes an element, 0 for BYTES, whose elements have lengths of their own.

    `dtype` is numpy's name for its arrays. Those of BYTES are of objects of type bytes; those of BF16, which numpy does
    not know, hold its bits as UINT16. `contents` is the field of InferTensorContents that may hold its elements, empty
    where only raw bytes may.
    """

    name: str
    dtype: str
    width: int
    contents: str
    config: model_config_pb2.DataType.ValueType


DATATYPES: Final = {
    one.name: one
    for one in (
        Datatype("BOOL", "?", 1, "bool_contents", model_config_pb2.TYPE_BOOL),
        Datatype("UINT8", "u1", 1, "uint_contents", model_config_pb2.TYPE_UINT8),
        Datatype("UINT16", "<u2", 2, "uint_contents", model_config_pb2.TYPE_UINT16),
        Datatype("UINT32", "<u4", 4, "uint_contents", model_config_pb2.TYPE_UINT32),
        Datatype("UINT64", "<u8", 8, "uint64_contents", model_config_pb2.TYPE_UINT64),
        Datatype("INT8", "i1", 1, "int_contents", model_config_pb2.TYPE_INT8),
        Datatype("INT16", "<i2", 2, "int_contents", model_config_pb2.TYPE_INT16),
        Datatype("INT32", "<i4", 4, "int_contents", model_config_pb2.TYPE_INT32),
        Datatype("INT64", "<i8", 8, "int64_contents", model_config_pb2.TYPE_INT64),
        Datatype("FP16", "<f2", 2, "", model_config_pb2.TYPE_FP16),
        Datatype("FP32", "<f4", 4, "fp32_contents", model_config_pb2.TYPE_FP32),
        Datatype("FP64", "<f8", 8, "fp64_contents", model_config_pb2.TYPE_FP64),
        Datatype("BYTES", "O", 0, "bytes_contents", model_config_pb2.TYPE_STRING),
        Datatype("BF16", "<u2", 2, "", model_config_pb2.TYPE_BF16),
    )
}
