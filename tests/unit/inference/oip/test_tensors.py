"""Tensors in and out of bytes: every datatype, and everything that can be wrong with one."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.models.model import TensorSpec
from inference_server.oip.datatypes import DATATYPES
from inference_server.oip.tensors import MOST_STRINGS, MOST_TYPED, check_shape, from_contents, from_raw, to_raw
from kserve import grpc_service_pb2 as pb
from services.kit.errors import InvalidArgument

_PLAIN = [name for name in DATATYPES if name not in ("BYTES", "BOOL")]


@pytest.mark.parametrize("datatype", _PLAIN)
def test_raw_numbers_are_little_endian_rows(datatype: str) -> None:
    kind = DATATYPES[datatype]
    wanted = np.arange(6).astype(kind.dtype).reshape(2, 3)
    array = from_raw(TensorSpec("X", datatype, (2, 3)), wanted.tobytes(), (2, 3))
    assert array.dtype == np.dtype(kind.dtype)
    assert (array == wanted).all()
    assert to_raw(array, kind) == wanted.tobytes()
    assert to_raw(wanted.T, kind) == np.ascontiguousarray(wanted.T).tobytes()


def test_raw_numbers_are_not_copied() -> None:
    raw = bytes(range(8))
    array = from_raw(TensorSpec("X", "UINT8", (8,)), raw, (8,))
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))
    assert not array.flags.writeable


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_bytes_survive_both_ways(elements: list[bytes]) -> None:
    array = np.empty(len(elements), np.object_)
    array[:] = elements
    raw = to_raw(array, DATATYPES["BYTES"])
    assert raw == b"".join(struct.pack("<I", len(one)) + one for one in elements)
    assert list(from_raw(TensorSpec("X", "BYTES", (-1,)), raw, (len(elements),))) == elements


@given(st.binary(max_size=64), st.integers(0, 8))
def test_hostile_bytes_are_read_or_refused(raw: bytes, count: int) -> None:
    try:
        array = from_raw(TensorSpec("X", "BYTES", (-1,)), raw, (count,))
    except InvalidArgument:
        return
    assert to_raw(array, DATATYPES["BYTES"]) == raw


@pytest.mark.parametrize(
    ("raw", "count", "complaint"),
    [
        (b"\1\0\0\0a", 2, "ends before"),
        (b"\1\0\0\0a\1\0\0\0", 2, "ends within element 1"),
        (b"\xff\xff\xff\xffa", 1, "ends within element 0"),
        (b"\1\0\0\0a\1\0\0", 2, "ends within element 1"),
        (b"\1\0\0\0a\1\0", 2, "ends before"),
        (b"\3\0\0\0abc\1", 1, "1 bytes after"),
        (b"\4\0\0\0abcd\0\0", 2, "ends within element 1"),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(raw: bytes, count: int, complaint: str) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        from_raw(TensorSpec("X", "BYTES", (-1,)), raw, (count,))


def test_booleans_are_0_or_1() -> None:
    spec = TensorSpec("X", "BOOL", (3,))
    assert from_raw(spec, b"\0\1\1", (3,)).tolist() == [False, True, True]
    with pytest.raises(InvalidArgument, match="other than 0 and 1"):
        from_raw(spec, b"\0\2\1", (3,))


@pytest.mark.parametrize("length", [0, 11, 13, 24])
def test_a_wrong_number_of_bytes_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"'X' has {length} bytes, and its shape \[3\] of FP32 needs 12"):
        from_raw(TensorSpec("X", "FP32", (3,)), bytes(length), (3,))


@pytest.mark.parametrize(
    ("datatype", "contents", "wanted"),
    [
        ("BOOL", pb.InferTensorContents(bool_contents=[True, False]), [True, False]),
        ("INT8", pb.InferTensorContents(int_contents=[-128, 127]), [-128, 127]),
        ("INT32", pb.InferTensorContents(int_contents=[-5, 2**31 - 1]), [-5, 2**31 - 1]),
        ("INT64", pb.InferTensorContents(int64_contents=[-(2**63), 1]), [-(2**63), 1]),
        ("UINT8", pb.InferTensorContents(uint_contents=[0, 255]), [0, 255]),
        ("UINT16", pb.InferTensorContents(uint_contents=[1, 65535]), [1, 65535]),
        ("UINT64", pb.InferTensorContents(uint64_contents=[2**64 - 1, 0]), [2**64 - 1, 0]),
        ("FP32", pb.InferTensorContents(fp32_contents=[0.5, -1.5]), [0.5, -1.5]),
        ("FP64", pb.InferTensorContents(fp64_contents=[1e300, -0.1]), [1e300, -0.1]),
        ("BYTES", pb.InferTensorContents(bytes_contents=[b"", b"\0x"]), [b"", b"\0x"]),
    ],
)
def test_typed_contents_are_read(datatype: str, contents: pb.InferTensorContents, wanted: list[object]) -> None:
    array = from_contents(TensorSpec("X", datatype, (2,)), contents, (2,))
    assert array.tolist() == wanted
    assert array.dtype == np.dtype(DATATYPES[datatype].dtype)
    assert not array.flags.writeable


@pytest.mark.parametrize(
    ("datatype", "contents", "complaint"),
    [
        ("FP16", pb.InferTensorContents(fp32_contents=[1, 2]), "only raw_input_contents"),
        ("BF16", pb.InferTensorContents(), "only raw_input_contents"),
        ("FP32", pb.InferTensorContents(fp64_contents=[1, 2]), "belongs in fp32_contents, not in fp64_contents"),
        ("FP32", pb.InferTensorContents(fp32_contents=[1, 2], int_contents=[1]), "not in int_contents"),
        ("FP32", pb.InferTensorContents(fp32_contents=[1]), "has 1 elements"),
        ("FP32", pb.InferTensorContents(), "has 0 elements"),
        ("INT8", pb.InferTensorContents(int_contents=[1, 128]), "no INT8"),
        ("UINT8", pb.InferTensorContents(uint_contents=[1, 256]), "no UINT8"),
        ("INT16", pb.InferTensorContents(int_contents=[-32769, 1]), "no INT16"),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(
    datatype: str, contents: pb.InferTensorContents, complaint: str
) -> None:
    with pytest.raises(InvalidArgument, match=complaint):
        from_contents(TensorSpec("X", datatype, (2,)), contents, (2,))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((-1,), (-1,)),
        ((2, -3), (-1, -1)),
        ((1,) * 33, (-1,) * 33),
        ((2**62, 4), (-1, -1)),
        ((0, 2**62), (-1, -1)),
        ((3,), (4,)),
        ((3, 1), (3,)),
        ((), (1,)),
    ],
)
def test_impossible_and_unfitting_shapes_are_refused(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="shape"):
        check_shape("X", shape, wanted)


def test_more_elements_than_may_be_walked_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 65536"):
        from_raw(TensorSpec("X", "BYTES", (-1,)), bytes(4 * (MOST_STRINGS + 1)), (MOST_STRINGS + 1,))
    many = pb.InferTensorContents(uint_contents=np.zeros(MOST_TYPED + 1, np.uint32))
    with pytest.raises(InvalidArgument, match="belong in raw_input_contents"):
        from_contents(TensorSpec("X", "UINT8", (-1,)), many, (MOST_TYPED + 1,))


def test_lengths_left_open_fit_any() -> None:
    check_shape("X", (0, 7, 3), (-1, -1, 3))
    check_shape("X", (), ())
    assert from_raw(TensorSpec("X", "FP32", (-1, 3)), b"", (0, 3)).shape == (0, 3)
