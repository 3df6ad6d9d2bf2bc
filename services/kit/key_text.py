"""The text of an API key: `ck_`, 43 digits of base 62 that hold 256 random bits, and 6 that check the rest.

The check catches what was mistyped or cut off before anything is asked for, and lets scanners of leaked secrets tell a
key from a chance match. It is no secret: whoever makes keys up can make its check up too, and finds nothing.
"""

import hashlib
import hmac
import zlib
from typing import Final

PREFIX: Final = "ck_"
SECRET_BYTES: Final = 32
SHOWN_CHARACTERS: Final = len(PREFIX) + 4
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS: Final = 43
_CHECK_DIGITS: Final = 6
LENGTH: Final = len(PREFIX) + _SECRET_DIGITS + _CHECK_DIGITS


def key_text(secret: bytes) -> str:
    """Return the key that holds 32 secret bytes; ValueError for another number of them."""
    if len(secret) != SECRET_BYTES:
        raise ValueError("a key holds 32 bytes")
    text = PREFIX + _base62(int.from_bytes(secret, "big"), _SECRET_DIGITS)
    return text + _check(text)


def well_formed(key: str) -> bool:
    """Say whether a text can be a key at all: its form and its check are right."""
    if len(key) != LENGTH or not key.isascii() or not key.startswith(PREFIX):
        return False
    return hmac.compare_digest(_check(key[:-_CHECK_DIGITS]), key[-_CHECK_DIGITS:])


def digest_of(key: str) -> bytes:
    """Return the SHA-256 that a key is found by. Its 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(key.encode()).digest()


def _check(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = []
    for _ in range(digits):
        number, digit = divmod(number, 62)
        text.append(_DIGITS[digit])
    return "".join(reversed(text))
