"""Fingerprints of requests that hold a password, made useless to whoever steals the database."""

import hmac
from dataclasses import replace

from services.kit.call import Call


class KeyedBlinder:
    """Puts an HMAC with a secret key in the place of a fingerprint."""

    def __init__(self, key: bytes) -> None:
        """Take a key that is not in the database; ValueError under 16 bytes."""
        if len(key) < 16:
            raise ValueError("blinding needs a key of 16 bytes or more")
        self._key = key

    def blinded(self, call: Call) -> Call:
        if not call.fingerprint:
            return call
        return replace(call, fingerprint=hmac.digest(self._key, call.fingerprint, "sha256"))
