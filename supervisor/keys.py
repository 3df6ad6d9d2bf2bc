"""The keys of one mesh: made once on the first start, private to their owner, never overwritten.

| file | what | who reads it |
|---|---|---|
| user-token.pem | Ed25519 private key that signs the access tokens of users | the user service only |
| user-jwks.json | its public half | every service, Envoy, clients |
| mesh.pem | Ed25519 private key that signs the service tokens of the mesh | the services |
| mesh-jwks.json | its public half | every service |
| envelope.key | 32 random bytes for AES-256-GCM of stored secrets | the services that store secrets |
| redis.password | what a client must say to Redis, since loopback is open to every user of the machine | the services |
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path

_PRIVATE_FILE = 0o600
KEY_PAIRS = (("user-token.pem", "user-jwks.json"), ("mesh.pem", "mesh-jwks.json"))
_ENVELOPE_BYTES = 32

KEY_FILES = (*(name for pair in KEY_PAIRS for name in pair), "envelope.key", "redis.password")


def ensure_keys(directory: Path) -> list[str]:
    """Create the keys that are missing and return their file names, in the order they were made.

    A public file that is missing is derived again from its private key. Raises ValueError when a private key cannot
    be read as Ed25519, OSError when a file cannot be written.
    """
    made = []
    for private, public in KEY_PAIRS:
        if _create(directory / private, _new_private_key):
            made.append(private)
        if _create(directory / public, partial(_public_set, directory / private)):
            made.append(public)
    if _create(directory / "envelope.key", lambda: secrets.token_bytes(_ENVELOPE_BYTES)):
        made.append("envelope.key")
    if _create(directory / "redis.password", lambda: secrets.token_urlsafe(32).encode()):
        made.append("redis.password")
    return made


def _create(path: Path, content: Callable[[], bytes]) -> bool:
    """Write a new file in one step; return False, and touch nothing, when it exists already."""
    if path.exists():
        return False
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content())
            file.flush()
            os.fsync(file.fileno())
        # link, unlike rename, refuses to replace: whoever came first keeps their key.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
            return True
        return False
    finally:
        temporary.unlink()


def _new_private_key() -> bytes:
    # Imported here and below: 20 MB and 0.1 s that only the first start needs.
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 — see above

    from services.kit.keys import SigningKey  # noqa: PLC0415 — see above

    return SigningKey.generate().private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_set(private: Path) -> bytes:
    from services.kit.keys import SigningKey, key_set  # noqa: PLC0415 — as in _new_private_key

    return json.dumps(key_set([SigningKey.load(private).public]), indent=1).encode() + b"\n"


def key_set_matches(private: Path, public: Path) -> bool:
    """Say whether the public half of a private key is in its key set. OSError or ValueError for damaged files."""
    from services.kit.keys import SigningKey, parse_key_set  # noqa: PLC0415 — as in _new_private_key

    return SigningKey.load(private).kid in parse_key_set(public.read_text(encoding="utf-8"))
