"""What identifies a request: its idempotency key, and a fingerprint that only equal requests share."""

import hashlib
from collections.abc import Mapping

from google.protobuf.message import Message

from services.kit.errors import FieldViolation, InvalidArgument
from services.kit.pipeline.methods import MethodInfo

IDEMPOTENCY_KEY = "idempotency-key"
_MAX_KEY_CHARACTERS = 128


def request_id_of(info: MethodInfo, message: Message | None, headers: Mapping[str, str]) -> str:
    """Return the call's idempotency key, empty without one.

    It is the message's `request_id`; where the type has none, as with raw bodies, the `idempotency-key` header.
    """
    if info.read_only:
        return ""
    if info.has_request_id:
        return str(getattr(message, "request_id", "")) if message is not None else ""
    key = headers.get(IDEMPOTENCY_KEY, "")
    if len(key) > _MAX_KEY_CHARACTERS:
        text = f"must be at most {_MAX_KEY_CHARACTERS} characters"
        violation = FieldViolation(IDEMPOTENCY_KEY, text, "string.max_len")
        raise InvalidArgument(f"{IDEMPOTENCY_KEY}: {text}", violations=[violation])
    return key


def fingerprint_of(info: MethodInfo, message: Message) -> bytes:
    """Return the SHA-256 of the method and of the request without its request_id; the caller is not part of it.

    `message` is the same afterwards. Costs about 1 ms a megabyte.
    """
    request_id = message.request_id if info.has_request_id else ""  # type: ignore[attr-defined] # has_request_id says so
    if request_id:
        message.ClearField("request_id")
    try:
        content = message.SerializeToString(deterministic=True)
    finally:
        if request_id:
            message.request_id = request_id  # type: ignore[attr-defined] # put back what was there
    digest = hashlib.sha256(info.path.encode("utf-8"))
    digest.update(b"\x00")
    digest.update(content)
    return digest.digest()
