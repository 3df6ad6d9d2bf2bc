"""Ed25519 keys on disk and the key sets (JWKS, RFC 7517) that publish their public halves.

A key's id (`kid`) is its RFC 7638 thumbprint, so a private key file alone says which entry of the set is its own.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

USER_KEY, USER_KEY_SET = "user-token.pem", "user-jwks.json"
MESH_KEY, MESH_KEY_SET = "mesh.pem", "mesh-jwks.json"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its id. The key never shows in a repr."""

    kid: str
    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new random key."""
        return cls.of(Ed25519PrivateKey.generate())

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> "SigningKey":
        """Return a key with the id that its public half gives it."""
        return cls(thumbprint(private.public_key()), private)

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read a PEM file; OSError when it cannot be read, ValueError when it holds no Ed25519 key."""
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{path.name} holds no Ed25519 key")
        return cls.of(key)

    @property
    def public(self) -> Ed25519PublicKey:
        return self.private.public_key()

    def save(self, path: Path) -> None:
        """Write the key as PEM, readable by its owner alone; FileExistsError when the file is there."""
        pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r})"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _raw(public: Ed25519PublicKey) -> str:
    return _base64url(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def thumbprint(public: Ed25519PublicKey) -> str:
    """Return the RFC 7638 thumbprint of a public key: 43 characters."""
    canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": _raw(public)}, separators=(",", ":"))
    return _base64url(hashlib.sha256(canonical.encode("ascii")).digest())


def key_set(keys: Iterable[Ed25519PublicKey]) -> dict[str, list[dict[str, str]]]:
    """Return the JWKS document of public keys; the first is the one that signs."""
    return {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": thumbprint(key), "x": _raw(key)}
            for key in keys
        ]
    }


def write_key_set(path: Path, keys: Iterable[Ed25519PublicKey]) -> None:
    """Replace a JWKS file in one step, so that a reader sees the old set or the new one."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(key_set(keys), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def parse_key_set(document: str) -> dict[str, Ed25519PublicKey]:
    """Return kid → key of a JWKS document, Ed25519 signing keys only; ValueError when it is damaged."""
    try:
        entries = json.loads(document)["keys"]
        return {entry["kid"]: _public(entry["x"]) for entry in entries if _signs(entry)}
    except (KeyError, TypeError) as exc:
        raise ValueError(f"not a key set: {exc!r}") from exc


def _signs(entry: dict[str, str]) -> bool:
    return entry.get("kty") == "OKP" and entry.get("crv") == "Ed25519" and entry.get("use", "sig") == "sig"


def _public(x: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))


def ensure_keys(folder: Path) -> None:
    """Create what is missing of the two key pairs and their sets: user tokens, and service tokens of the mesh.

    Existing files are left as they are; a set is written when its key is new or the set is missing.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for key_name, set_name in ((USER_KEY, USER_KEY_SET), (MESH_KEY, MESH_KEY_SET)):
        path = folder / key_name
        if not path.exists():
            key = SigningKey.generate()
            key.save(path)
            write_key_set(folder / set_name, [key.public])
        elif not (folder / set_name).exists():
            write_key_set(folder / set_name, [SigningKey.load(path).public])
