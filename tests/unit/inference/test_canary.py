"""The canary: a pickle that leaves a file behind when it is read, in every disguise, before every loader."""

import io
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference_server.models import npz_file
from inference_server.models.device import Runtime
from inference_server.models.formats import Format, format_of, require
from inference_server.models.sessions import open_session
from inference_server.models.tensor_files import read_tensors
from inference_server.models.weights import WeightsError
from tests.support import onnx_graphs as graphs
from tests.support.archives import Canary, npz_bytes, zipped


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("data.pkl")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def compressed(data: bytes, module: str) -> bytes:
    done: bytes = __import__(module).compress(data)
    return done


def object_array(canary: Canary) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([canary], dtype=object), allow_pickle=True)
    return out.getvalue()


DISGUISES: dict[str, Callable[[Canary], bytes]] = {
    **{f"protocol {number}": (lambda canary, number=number: pickle.dumps(canary, number)) for number in range(6)},  # type: ignore[misc] # a default fixes the loop's value
    "torch archive": lambda canary: zipped(
        archive__data_pkl=pickle.dumps(canary), **{"archive/data.pkl": pickle.dumps(canary)}
    ),
    "TorchScript": lambda canary: zipped(**{"code/model.py": b"", "constants.pkl": pickle.dumps(canary)}),
    "legacy torch": lambda canary: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(canary, 2),
    "npy of objects": object_array,
    "npz of objects": lambda canary: zipped(**{"weights.npy": object_array(canary)}),
    "npz with more": lambda canary: zipped(**{"data.pkl": pickle.dumps(canary)}),
    "tar": lambda canary: tarred(pickle.dumps(canary)),
    "joblib, gzip": lambda canary: compressed(pickle.dumps(canary), "gzip"),
    "joblib, zlib": lambda canary: compressed(pickle.dumps(canary), "zlib"),
    "joblib, xz": lambda canary: compressed(pickle.dumps(canary), "lzma"),
    "joblib, bz2": lambda canary: compressed(pickle.dumps(canary), "bz2"),
    "after a GGUF magic": lambda canary: b"GGUF" + pickle.dumps(canary),
    "after a safetensors header": lambda canary: struct.pack("<Q", 2) + b"{}" + pickle.dumps(canary),
    "after an ONNX model": lambda canary: graphs.doubling() + pickle.dumps(canary),
    "after an archive": lambda canary: npz_bytes(weight=np.ones(3)) + pickle.dumps(canary),
}
LOADERS: dict[str, Callable[[bytes], object]] = {
    "format_of": format_of,
    "safetensors": lambda data: require(data, Format.SAFETENSORS),
    "onnx": lambda data: require(data, Format.ONNX),
    "gguf": lambda data: require(data, Format.GGUF),
    "npz": npz_file.read,
    "tensors": read_tensors,
    "session": lambda data: open_session(data, Runtime(threads=1), threads=1),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_loader_runs_a_pickle(disguise: str, loader: str, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    data = DISGUISES[disguise](Canary(trace))
    if (disguise, loader) == ("after an archive", "npz"):
        LOADERS[loader](data)  # numbers, with something behind them that nobody looks at
    else:
        with pytest.raises(WeightsError):
            LOADERS[loader](data)
    assert not trace.exists(), "the pickle was run"


def test_the_canary_sings_when_it_is_read(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Canary(tmp_path / "ran")))  # noqa: S301 - that is the point
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("disguise", "message"),
    [
        ("protocol 4", "a pickle, which is a program, is refused; weights must be ONNX, safetensors or GGUF"),
        ("protocol 0", "a pickle, which is a program, is refused"),
        ("torch archive", "a PyTorch file, which holds a pickle"),
        ("TorchScript", "a TorchScript archive, which holds pickles and code"),
        ("npy of objects", "a NumPy array, which may hold a pickle"),
        ("tar", "a tar archive"),
        ("joblib, gzip", "gzip data"),
    ],
)
def test_the_message_says_what_was_found(disguise: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=message):
        format_of(DISGUISES[disguise](Canary(tmp_path / "ran")))
