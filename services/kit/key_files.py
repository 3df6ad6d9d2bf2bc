"""Key sets read from files and read again when a file changes, so that keys rotate without a restart."""

import logging
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.kit.clock import Clock, SystemClock
from services.kit.keys import parse_key_set

_LOG = logging.getLogger(__name__)
_CHECK_SECONDS = 0.5
_Stamp = tuple[int, int, int]


class KeySetFile:
    """The public keys of one JWKS file, kid → key.

    The file is looked at (not read) at most every half second. A file that is missing gives no keys; one that turns
    damaged leaves the keys as they were, because refusing everybody over a half-written file helps nobody.
    """

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._clock: Clock = clock or SystemClock()
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._stamp: _Stamp | None = None
        self._version = 0
        self._next_look = float("-inf")

    def keys(self) -> dict[str, Ed25519PublicKey]:
        """Return the current keys."""
        self._look()
        return self._keys

    def version(self) -> int:
        """Return a number that changes whenever the keys do."""
        self._look()
        return self._version

    def _look(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _CHECK_SECONDS
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        self._read()

    def _stat(self) -> _Stamp | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self) -> None:
        try:
            keys = parse_key_set(self._path.read_text(encoding="utf-8")) if self._stamp else {}
        except (OSError, ValueError) as exc:
            _LOG.error("the key set %s cannot be read, its old keys stay: %s", self._path.name, exc)
            return
        self._keys = keys
        self._version += 1
        _LOG.info("the key set %s has %d keys", self._path.name, len(keys))
