"""Requests made from what callers give, the same for both clients."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from candela.recognition.v1 import recognition_service_pb2
from candela.user.v1 import session_service_pb2, user_pb2, user_service_pb2

ME: Final = "users/me"
CURRENT: Final = "sessions/current"

# A document as its bytes, or as the path of the file that holds them.
Source = bytes | str | PathLike[str]


def register_user(
    password: str, email: str, phone: str, username: str, display_name: str
) -> user_service_pb2.RegisterUserRequest:
    """Returns a registration."""
    return user_service_pb2.RegisterUserRequest(
        email=email, phone=phone, username=username, password=password, display_name=display_name
    )


def create_session(identifier: str, password: str, device: str) -> session_service_pb2.CreateSessionRequest:
    """Returns a log-in."""
    return session_service_pb2.CreateSessionRequest(identifier=identifier, password=password, device=device)


def update_user(etag: str, **fields: str | None) -> user_service_pb2.UpdateUserRequest:
    """Returns a change of the caller's profile: None leaves a field as it is, an empty text clears it."""
    changed = {name: value for name, value in fields.items() if value is not None}
    user = user_pb2.User(name=ME, etag=etag)
    for name, value in changed.items():
        setattr(user, name, value)
    return user_service_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=list(changed)))


def change_password(current: str, new: str) -> user_service_pb2.ChangePasswordRequest:
    """Returns a change of the caller's password."""
    return user_service_pb2.ChangePasswordRequest(name=ME, current_password=current, new_password=new)


def read(source: Source | None) -> bytes | None:
    """Returns the bytes of a document, read from its file where a path is given; raises OSError."""
    return source if source is None or isinstance(source, bytes) else Path(source).read_bytes()


def recognize_document(
    content: bytes | None, file: str, include_characters: bool, pages: Sequence[int], request_id: str
) -> recognition_service_pb2.RecognizeDocumentRequest:
    """Returns a document to read; raises TypeError unless it is given in exactly one way."""
    if (content is None) == (not file):
        raise TypeError("give either a document (a path or bytes) or file='files/…'")
    request = recognition_service_pb2.RecognizeDocumentRequest(
        include_characters=include_characters, pages=pages, request_id=request_id
    )
    if content is None:
        request.file = file
    else:
        request.content = content
    return request
