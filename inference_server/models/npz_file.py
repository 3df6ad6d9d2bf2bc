"""NumPy archives (.npz) of plain numbers. Object arrays, which are pickles, are told from their headers and refused."""

import ast
import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

from inference_server.models.weights import WeightsError

if TYPE_CHECKING:  # a server without models stays small
    import numpy.typing as npt

_MAGIC = b"\x93NUMPY"
_MAX_MEMBERS = 10_000
_MAX_BYTES = 4 << 30
_MAX_HEADER = 10_000
# Booleans, integers and floats; no objects, no structures (which may hold objects), no strings.
_PLAIN = re.compile(r"[<>|=]?[biuf]\d+")


def check(data: bytes) -> None:
    """Raise WeightsError unless `data` is an archive of arrays of plain numbers and nothing else."""
    with _opened(data) as archive:
        members = archive.infolist()
        if not members or len(members) > _MAX_MEMBERS:
            raise WeightsError(f"an archive of {len(members)} members; there must be 1 to {_MAX_MEMBERS}")
        if sum(member.file_size for member in members) > _MAX_BYTES:
            raise WeightsError(f"an archive that unpacks to more than {_MAX_BYTES} bytes")
        for member in members:
            if not member.filename.endswith(".npy"):
                raise WeightsError(f"{member.filename!r} in the archive is no array")
            _check_array(archive, member)


def read(data: bytes) -> "dict[str, npt.NDArray[Any]]":
    """Return the arrays by name, after `check`."""
    import numpy as np  # noqa: PLC0415 - the gate is imported by servers that load no model

    check(data)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return dict(archive.items())


def describe(data: bytes) -> str:
    """Return what a zip archive is, for the message that refuses it."""
    try:
        with _opened(data) as archive:
            names = archive.namelist()
    except WeightsError:
        return "a zip archive"
    if any(name.endswith("constants.pkl") for name in names):
        return "a TorchScript archive, which holds pickles and code,"
    if any(name.endswith((".pkl", ".pickle")) for name in names):
        return "a PyTorch file, which holds a pickle,"
    return "a zip archive"


def _opened(data: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise WeightsError(f"no archive of arrays: {error}") from error


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    try:
        with archive.open(member) as file:
            start = file.read(len(_MAGIC) + 2)
            length = int.from_bytes(file.read(2 if start[-2:-1] == b"\x01" else 4), "little")
            header = ast.literal_eval(file.read(length).decode("latin-1")) if length <= _MAX_HEADER else None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise WeightsError(f"{member.filename!r} in the archive is damaged: {error}") from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression, a password
        raise WeightsError(f"{member.filename!r} in the archive cannot be read: {error}") from error
    if not start.startswith(_MAGIC) or not isinstance(header, dict):
        raise WeightsError(f"{member.filename!r} in the archive is no array")
    kind = header.get("descr")
    if not isinstance(kind, str) or not _PLAIN.fullmatch(kind):
        raise WeightsError(f"{member.filename!r} in the archive holds {kind!r}, which may be a pickle, and is refused")
