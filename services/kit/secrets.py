"""Secrets at rest: AES-256-GCM envelopes whose keys can be changed.

Every value has a data key of its own, and only that is encrypted with the master key. So changing the master key
(`rewrap`) touches 60 bytes of a value however large it is, and one master key is used far less often than GCM's limit
of 2^32 messages for random nonces. The context (tenant, table, column, row) is authenticated with the value: a sealed
value that was copied into another row, column or tenant does not open.

Layout: 1 byte version · 8 bytes key id · 12 bytes nonce · 48 bytes wrapped data key · ciphertext and 16 bytes tag.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.kit.errors import DataLoss

KEY_BYTES = 32
_VERSION = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_WRAPPED_BYTES = KEY_BYTES + 16
_ID_END = 1 + _ID_BYTES
_NONCE_END = _ID_END + _NONCE_BYTES
_HEADER_BYTES = _NONCE_END + _WRAPPED_BYTES
# A data key encrypts exactly one message, so its nonce need not vary.
_ONLY_NONCE = bytes(_NONCE_BYTES)


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """Where a sealed value lives; opening it anywhere else fails."""

    tenant: str
    table: str
    column: str
    row: str

    def encoded(self) -> bytes:
        """Return the four parts unambiguously: each with its length before it."""
        parts = (part.encode() for part in (self.tenant, self.table, self.column, self.row))
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def key_id(key: bytes) -> bytes:
    """Return the 8 bytes by which sealed values name their master key."""
    return hashlib.sha256(b"candela envelope key" + key).digest()[:_ID_BYTES]


def derived_key(master: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose (`page tokens`); it tells nothing of the master key or of other purposes."""
    return hmac.digest(master, b"candela " + purpose.encode(), "sha256")


class Envelope:
    """Seals with its first key, opens with any of its keys."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take master keys of 32 bytes, the current one first; ValueError for none or another length."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"an envelope needs master keys of {KEY_BYTES} bytes each")
        self._current = key_id(keys[0])
        self._keys = {key_id(key): AESGCM(key) for key in keys}

    @classmethod
    def from_files(cls, current: Path, *older: Path) -> "Envelope":
        """Read raw 32-byte keys from files, the current one first."""
        return cls([path.read_bytes() for path in (current, *older)])

    def seal(self, value: bytes, place: SecretPlace) -> bytes:
        """Return `value` encrypted for one place: 85 bytes longer."""
        data_key = AESGCM.generate_key(bit_length=8 * KEY_BYTES)
        sealed = AESGCM(data_key).encrypt(_ONLY_NONCE, value, place.encoded())
        return self._wrap(data_key, place) + sealed

    def open(self, sealed: bytes, place: SecretPlace) -> bytes:
        """Return the value; DataLoss when it is damaged, belongs elsewhere or its key is gone (not said which)."""
        data_key = self._unwrap(sealed, place)
        try:
            return AESGCM(data_key).decrypt(_ONLY_NONCE, sealed[_HEADER_BYTES:], place.encoded())
        except InvalidTag as error:
            raise _unreadable(place) from error

    def is_current(self, sealed: bytes) -> bool:
        """Return whether the value is under the current master key already."""
        return sealed[1:_ID_END] == self._current

    def rewrap(self, sealed: bytes, place: SecretPlace) -> bytes:
        """Return the same value under the current master key; the encrypted value itself stays as it is."""
        return self._wrap(self._unwrap(sealed, place), place) + sealed[_HEADER_BYTES:]

    def _wrap(self, data_key: bytes, place: SecretPlace) -> bytes:
        header = _VERSION + self._current
        nonce = os.urandom(_NONCE_BYTES)
        return header + nonce + self._keys[self._current].encrypt(nonce, data_key, header + place.encoded())

    def _unwrap(self, sealed: bytes, place: SecretPlace) -> bytes:
        master = self._keys.get(sealed[1:_ID_END])
        if master is None or sealed[:1] != _VERSION or len(sealed) < _HEADER_BYTES:
            raise _unreadable(place)
        header = sealed[:_ID_END]
        nonce, wrapped = sealed[_ID_END:_NONCE_END], sealed[_NONCE_END:_HEADER_BYTES]
        try:
            return master.decrypt(nonce, wrapped, header + place.encoded())
        except InvalidTag as error:
            raise _unreadable(place) from error


def _unreadable(place: SecretPlace) -> DataLoss:
    return DataLoss(f"a stored secret cannot be read ({place.table}.{place.column})")
