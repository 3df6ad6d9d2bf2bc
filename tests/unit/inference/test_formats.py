"""The gate before every loader: whole files of numbers pass, damaged ones do not; test_canary.py is about programs."""

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors.numpy import save

from inference_server.models import npz_file, onnx_file
from inference_server.models.device import Runtime
from inference_server.models.formats import Format, format_of, require
from inference_server.models.sessions import open_session
from inference_server.models.tensor_files import read_tensors
from inference_server.models.weights import WeightsError
from tests.support import onnx_graphs as graphs
from tests.support.archives import npz_bytes, zipped

ARRAYS: dict[str, npt.NDArray[Any]] = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bias": np.array([1, 2], dtype=np.int64),
}


def gguf_bytes(tmp_path: Path, arrays: dict[str, Any] | None = None, **options: Any) -> bytes:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "candela-test")
    writer.add_string("note", "made by a test")
    writer.add_array("vocabulary", ["a", "b", "c"])
    for name, array in (arrays or {"weight": ARRAYS["weight"]}).items():
        writer.add_tensor(name, array, **options)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return (tmp_path / "model.gguf").read_bytes()


# --- what passes


def test_formats_are_told_by_their_bytes(tmp_path: Path) -> None:
    assert format_of(save(ARRAYS)) is Format.SAFETENSORS
    assert format_of(gguf_bytes(tmp_path)) is Format.GGUF
    assert format_of(graphs.doubling()) is Format.ONNX
    require(npz_bytes(**ARRAYS), Format.NPZ)


def test_safetensors_are_read_as_their_library_writes_them() -> None:
    arrays = {
        **ARRAYS,
        "nothing": np.zeros((0, 4), np.float32),
        "one": np.array(3.5),
        "half": np.ones(3, np.float16),
    }
    read = read_tensors(save(arrays, metadata={"by": "a test"}))
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name].values, array)
        assert read[name].values.dtype == array.dtype
        assert not read[name].values.flags.writeable


def test_gguf_is_read_as_its_library_writes_it(tmp_path: Path) -> None:
    arrays = {"weight": ARRAYS["weight"], "half": np.ones((2, 5), np.float16), "long": np.arange(4, dtype=np.int64)}
    read = read_tensors(gguf_bytes(tmp_path, arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name].values, array)


def test_archives_of_plain_arrays_are_read() -> None:
    read = npz_file.read(npz_bytes(**ARRAYS))
    np.testing.assert_array_equal(read["weight"], ARRAYS["weight"])


def test_a_graph_says_what_it_takes_and_gives() -> None:
    graph = onnx_file.parse(graphs.doubling("N", 3))
    assert [(one.name, one.element, one.shape) for one in graph.inputs] == [("x", 1, (None, 3))]
    assert [(one.name, one.element, one.shape) for one in graph.outputs] == [("y", 1, (None, 3))]
    assert graph.external == set()


# --- damaged and hostile files


def safetensors_of(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + body


def described(start: int, end: int, shape: list[Any] | None = None, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "shorter"),
        (safetensors_of(b"{}", length=1 << 62), "shorter"),
        (safetensors_of({"a": described(0, 8)}), "end at byte"),
        (safetensors_of({"a": described(0, 8)}, bytes(4)), "end at byte"),
        (safetensors_of({"a": described(0, 8)}, bytes(12)), "end at byte"),
        (safetensors_of({"a": described(0, 8), "b": described(4, 12)}, bytes(12)), "overlaps"),
        (safetensors_of({"a": described(0, 4), "b": described(8, 12)}, bytes(12)), "gap"),
        (safetensors_of({"a": described(8, 4)}, bytes(8)), "shape"),
        (safetensors_of({"a": described(-4, 4, [2])}, bytes(8)), "offsets"),
        (safetensors_of({"a": described(0, 8, [3])}, bytes(8)), "shape"),
        (safetensors_of({"a": described(0, 8, [-2])}, bytes(8)), "shape"),
        (safetensors_of({"a": described(0, 8, [True, 2])}, bytes(8)), "shape"),
        (safetensors_of({"a": described(0, 0, [1 << 40, 0, 1 << 40] * 6)}), "dimensions"),
        (safetensors_of({"a": described(0, 8, dtype="O")}, bytes(8)), "not read here"),
        (safetensors_of({"a": described(0, 8, dtype=["F32"])}, bytes(8)), "not read here"),
        (safetensors_of({"a": [1]}), "not described"),
        (safetensors_of({"__metadata__": {"a": 1}}), "metadata"),
        (safetensors_of({"__metadata__": []}), "metadata"),
        (safetensors_of(b'{"a":{},"a":{}}'), "twice"),
        (safetensors_of(b"[" * 100_000), "no JSON object"),
        (safetensors_of(b'{"a":' + b"[" * 100_000), "damaged"),
        (safetensors_of(b'{"a":' + b"9" * 10_000 + b"}"), "damaged"),
        (safetensors_of(b" " * (17 << 20)), "at most"),
    ],
)
def test_damaged_safetensors_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        require(data, Format.SAFETENSORS)


def gguf_head(version: int = 3, tensors: int = 0, metadata: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + rest


def gguf_text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def gguf_tensor(name: bytes = b"a", shape: tuple[int, ...] = (2,), kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return gguf_text(name) + dimensions + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF", "too early"),
        (b"GGML" + bytes(64), "no GGUF"),
        (gguf_head(version=1), "version 1"),
        (gguf_head(version=3 << 24), "version"),
        (gguf_head(tensors=1 << 40), "claims"),
        (gguf_head(metadata=1 << 40), "claims"),
        (gguf_head(metadata=1, rest=struct.pack("<Q", 1 << 40)), "string"),
        (gguf_head(metadata=1, rest=gguf_text(b"\xff")), "UTF-8"),
        (gguf_head(metadata=1, rest=gguf_text(b"a") + struct.pack("<I", 99)), "unknown type"),
        (gguf_head(metadata=1, rest=gguf_text(b"a") + struct.pack("<IIQ", 9, 8, 1 << 40)), "items"),
        (gguf_head(metadata=1, rest=gguf_text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9), "deep"),
        (gguf_head(metadata=1, rest=gguf_text(b"a") + struct.pack("<IQ", 8, 1 << 40)), "string"),
        (gguf_head(metadata=1, rest=gguf_text(b"general.alignment") + struct.pack("<II", 4, 3)), "power of two"),
        (gguf_head(tensors=1, rest=gguf_tensor(shape=(1,) * 9)), "9 dimensions"),
        (gguf_head(tensors=1, rest=gguf_tensor(kind=12)), "quantised"),
        (gguf_head(tensors=1, rest=gguf_tensor()), "end at byte"),
        (gguf_head(tensors=1, rest=gguf_tensor(offset=1 << 50)), "end at byte"),
        (gguf_head(tensors=1, rest=gguf_tensor(offset=4) + bytes(64)), "aligned"),
        (gguf_head(tensors=1, rest=gguf_tensor(shape=(1 << 60, 1 << 60))), "end at byte"),
        (gguf_head(tensors=2, rest=gguf_tensor() * 2 + bytes(64)), "one name"),
        (gguf_head(tensors=2, rest=gguf_tensor(b"a") + gguf_tensor(b"b") + bytes(128)), "overlaps"),
    ],
)
def test_damaged_gguf_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        require(data, Format.GGUF)


def test_quantised_gguf_is_refused_by_name(tmp_path: Path) -> None:
    blocks = np.zeros((2, 34), dtype=np.uint8)
    data = gguf_bytes(tmp_path, {"weight": blocks}, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    with pytest.raises(WeightsError, match="'weight' is of ggml's type 8, which is quantised"):
        read_tensors(data)


def external(location: str) -> bytes:
    return graphs.Graph(
        [graphs.value("x", graphs.FLOAT, ["N", 2])],
        [graphs.value("y", graphs.FLOAT, ["N", 2])],
        [graphs.node("Add", ["x", "w"], ["y"])],
        [graphs.elsewhere("w", [2], location)],
    ).encoded()


@pytest.mark.parametrize("location", ["/etc/passwd", "../w.bin", "a/../../w.bin", "", "a\\b", "a//b", ".", "a\0b"])
def test_a_model_that_asks_for_files_elsewhere_is_refused(location: str) -> None:
    with pytest.raises(WeightsError, match="not in its own folder"):
        require(external(location), Format.ONNX)


def test_files_elsewhere_are_found_wherever_they_hide() -> None:
    tensor = graphs.elsewhere("w", [2], "/etc/passwd")
    attribute = graphs.part(5, graphs.part(1, "value") + graphs.part(5, tensor))
    inner = graphs.part(1, graphs.node("Constant", [], ["w"], attribute))
    branch = graphs.part(5, graphs.part(1, "then_branch") + graphs.part(6, inner))
    outer = graphs.Graph([], [graphs.value("y", 1, [2])], [graphs.node("If", ["c"], ["y"], branch)])
    with pytest.raises(WeightsError, match="not in its own folder"):
        onnx_file.parse(outer.encoded())
    function = graphs.part(25, graphs.part(7, graphs.node("Constant", [], ["w"], attribute)))
    with pytest.raises(WeightsError, match="not in its own folder"):
        onnx_file.parse(graphs.doubling() + function)


def test_weights_beside_a_model_are_those_that_came_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.bin").write_bytes(np.array([70, 70], np.float32).tobytes())  # never opened
    with pytest.raises(WeightsError, match=r"did not come with it: w\.bin"):
        open_session(external("w.bin"), Runtime(threads=1), threads=1)
    weights = np.array([10, 20], np.float32).tobytes()
    session = open_session(external("w.bin"), Runtime(threads=1), threads=1, beside={"w.bin": weights})
    np.testing.assert_array_equal(session.run(None, {"x": np.ones((1, 2), np.float32)})[0], [[11, 21]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no version"),
        (graphs.doubling()[:-1], "no ONNX model"),
        (graphs.varint(1, 8), "no version"),
        (graphs.doubling() + graphs.doubling(), "not one graph"),
        (b"\xff" * 64, "no end"),
        (graphs.doubling() + b"\x0b", "no protobuf"),
        (graphs.doubling() + b"\x0a\x7f", "reaches beyond"),
        (bytes(8) + b"hello world", "no ONNX model"),
    ],
)
def test_damaged_onnx_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        require(data, Format.ONNX)


def test_deep_onnx_is_refused() -> None:
    inner = b""
    for _ in range(40):
        inner = graphs.part(1, graphs.part(5, graphs.part(6, inner)))
    with pytest.raises(WeightsError, match="nested"):
        onnx_file.parse(graphs.varint(1, 8) + graphs.part(7, inner) + graphs.part(8, b""))


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for loader in (onnx_file.parse, npz_file.check, format_of):
        try:
            loader(data)
        except WeightsError:
            continue


@given(st.data())
def test_any_damage_to_a_sound_file_is_refused_or_harmless(draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from([save(ARRAYS), graphs.doubling(), npz_bytes(**ARRAYS)])))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    for loader in (npz_file.read, format_of, read_tensors):
        try:
            loader(bytes(data))
        except WeightsError:
            continue


@given(st.data())
def test_what_is_read_is_what_the_library_reads(draw: st.DataObject) -> None:
    """A file that two readers see differently could be checked as one thing and used as another."""
    data = bytearray(save(ARRAYS))
    header = int.from_bytes(data[:8], "little")
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, 8 + header - 1))] = draw.draw(
            st.sampled_from(b'0123456789{}[]",:abcFIU \x00\xff')
        )
    try:
        ours = read_tensors(bytes(data))
    except WeightsError:
        return
    theirs = dict(deserialize(bytes(data)))  # type: ignore[no-untyped-call] # its stub says no type of the result
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert list(tensor.values.shape) == theirs[name]["shape"]
        assert tensor.kind == theirs[name]["dtype"]
        assert tensor.values.tobytes() == bytes(theirs[name]["data"])


def test_archives_with_anything_but_plain_arrays_are_refused() -> None:
    with pytest.raises(WeightsError, match="which may be a pickle"):
        npz_file.read(npz_bytes(a=np.array([{"a": 1}], dtype=object)))
    with pytest.raises(WeightsError, match="is no array"):
        npz_file.read(zipped(**{"a.npy": b"something else entirely"}))
    with pytest.raises(WeightsError, match="is no array"):
        npz_file.read(zipped(**{"readme.txt": b"hello"}))
    with pytest.raises(WeightsError, match="no archive"):
        npz_file.read(b"PK\x03\x04 not really")
