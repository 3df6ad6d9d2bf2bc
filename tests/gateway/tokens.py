"""User tokens as the user service makes them, and ones it would never make."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_ID = "test-key"


@dataclass
class Issuer:
    """Somebody who signs tokens with an Ed25519 key."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def public_bytes(self) -> bytes:
        """Returns the public key, raw."""
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def write_jwks(self, file: Path) -> None:
        """Writes the public key as the supervisor does."""
        x = _base64(self.public_bytes())
        key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": x}
        file.write_text(json.dumps({"keys": [key]}))

    def token(self, **changes: Any) -> str:
        """Returns a token; a change of None takes the claim away."""
        return jwt.encode(claims(**changes), self.key, algorithm="EdDSA", headers={"kid": KEY_ID})

    def bearer(self, **changes: Any) -> dict[str, str]:
        """Returns the header with a token."""
        return {"authorization": f"Bearer {self.token(**changes)}"}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    standard: dict[str, Any] = {
        "iss": "candela", "aud": "candela", "sub": "u1", "tenant": "default", "sid": "s1", "role": "FREE",
        "iat": now, "exp": now + 900, "jti": "t1",
    }  # fmt: skip
    return {key: value for key, value in (standard | changes).items() if value is not None}


def unsigned(**changes: Any) -> str:
    """Returns a token that says it needs no signature."""
    return f"{_part({'alg': 'none', 'kid': KEY_ID})}.{_part(claims(**changes))}."


def with_secret(secret: bytes, **changes: Any) -> str:
    """Returns a token signed with HS256: the classic trick with the public key as the secret."""
    head = f"{_part({'alg': 'HS256', 'kid': KEY_ID})}.{_part(claims(**changes))}"

    return f"{head}.{_base64(hmac.new(secret, head.encode(), hashlib.sha256).digest())}"


def _part(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
