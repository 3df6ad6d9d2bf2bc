"""The people of a case, and the plain channel over which a case is prepared."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf import json_format
from google.rpc import code_pb2, status_pb2

from tests.conformance.contract import METHODS, Method
from tests.conformance.outcome import Outcome, failure_of, received
from tests.conformance.suite import Who

_REGISTER: Final = METHODS["candela.user.v1.UserService/RegisterUser"]
_LOG_IN: Final = METHODS["candela.user.v1.SessionService/CreateSession"]
_PASSWORD: Final = "correct horse battery"
_STATUS: Final = "grpc-status-details-bin"
_TRACE: Final = "candela-trace-id"
_SECONDS: Final = 30.0

# Makes an admin of somebody who has registered: their name (`users/…`) and e-mail address.
Promote = Callable[[str, str], None]
Metadata = Sequence[tuple[str, str | bytes]] | None


class Wire:
    """Calls of any method over gRPC, with nothing of ours between the test and the bytes."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target)

    def call(self, method: Method, request: Any, token: str = "") -> Outcome:
        """Make a call with a request in ProtoJSON and wait for its end."""
        message = json_format.ParseDict(request, method.request())
        path = f"/{method.name}"
        kind = self._channel.unary_stream if method.streams else self._channel.unary_unary
        stub: Any = kind(path, method.request.SerializeToString, method.response.FromString)
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        call = stub(message, metadata=metadata, timeout=_SECONDS) if method.streams else None
        messages: list[Any] = []
        try:
            if call is None:
                reply, call = stub.with_call(message, metadata=metadata, timeout=_SECONDS)
                messages.append(reply)
            else:
                messages.extend(call)
        except grpc.RpcError as error:
            return received(messages, failure_of(status_of(error), trace=_text(error_trailers(error), _TRACE)))
        initial = call.initial_metadata()
        return received(messages, None, _text(initial, _TRACE) or _text(call.trailing_metadata(), _TRACE))

    def close(self) -> None:
        self._channel.close()


class People:
    """Users of one run of a case, made when they are first mentioned."""

    def __init__(self, wire: Wire, promote: Promote) -> None:
        self._wire = wire
        self._promote = promote
        self._known: dict[str, dict[str, str]] = {}

    def token(self, who: Who) -> str:
        """Return what somebody sends to say who they are; empty for nobody."""
        if isinstance(who, Mapping):
            return who["token"]
        return "" if who == "nobody" else self.facts(who)["accessToken"]

    def facts(self, name: str) -> Mapping[str, str]:
        """Return what is known of a person."""
        if name not in self._known:
            self._known[name] = self._made(name)
        return self._known[name]

    def _made(self, name: str) -> dict[str, str]:
        email = f"{secrets.token_hex(8)}@example.com"
        user = self._ask(_REGISTER, {"email": email, "password": _PASSWORD})
        if name == "admin" or name.startswith("admin-"):
            self._promote(user["name"], email)
        login = {"identifier": email, "password": _PASSWORD, "device": "conformance"}
        grant = self._ask(_LOG_IN, login)
        return {
            "email": email,
            "password": _PASSWORD,
            "name": user["name"],
            "id": user["name"].removeprefix("users/"),
            "session": grant["session"]["name"],
            "accessToken": grant["accessToken"],
            "refreshToken": grant["refreshToken"],
        }

    def _ask(self, method: Method, request: Any) -> Any:
        outcome = self._wire.call(method, request)
        if outcome.failure is not None:
            raise AssertionError(f"{method.name} failed: {outcome.failure}")
        return outcome.messages[0]


def status_of(error: grpc.RpcError) -> status_pb2.Status:
    """Return the status of a call that failed, with its details where there are any."""
    code, details = getattr(error, "code")(), getattr(error, "details")()  # noqa: B009 -- RpcError declares neither
    raw = next((value for name, value in error_trailers(error) or () if name == _STATUS), None)
    if isinstance(raw, bytes):
        return status_pb2.Status.FromString(raw)
    return status_pb2.Status(code=code_pb2.Code.Value(code.name), message=details or "")


def error_trailers(error: grpc.RpcError) -> Metadata:
    """Return the trailers of a call that failed."""
    trailers: Metadata = getattr(error, "trailing_metadata")()  # noqa: B009 -- as above
    return trailers


def _text(metadata: Metadata, name: str) -> str:
    return next((value for key, value in metadata or () if key == name and isinstance(value, str)), "")
