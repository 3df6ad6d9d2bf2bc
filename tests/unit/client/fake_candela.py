"""A small Candela in this process, on a real gRPC server, that can be told to fail.

It keeps the contract where the client depends on it: tokens that age, refresh tokens that work once, request ids that
make a repeat return the first answer, pages.
"""

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from candela.recognition.v1 import (
    recognition_pb2,
    recognition_service_pb2,
)
from candela.user.v1 import (
    notification_service_pb2,
    session_pb2,
    session_service_pb2,
    user_pb2,
    user_service_pb2,
)

ACCESS_SECONDS = 900
REFRESH_SECONDS = 30 * 86400
PASSWORD = "correct horse battery"

Context = grpc.ServicerContext
Fault = Callable[[Context], object]
Reply = TypeVar("Reply", bound=Message)


def fail(
    context: Context, code: grpc.StatusCode, reason: str = "", *, message: str = "no", details: tuple[Message, ...] = ()
) -> NoReturn:
    """Aborts as a service of Candela does; without a reason, as something in between does."""
    status = status_pb2.Status(code=code.value[0], message=message)
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="candela.dev"))
    for detail in details:
        status.details.add().Pack(detail)
    if status.details:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)
    raise AssertionError("abort raises")


def unavailable(context: Context) -> NoReturn:
    fail(context, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")


@dataclass
class Seen:
    """One call that arrived."""

    method: str
    request: Any
    token: str


@dataclass
class World:
    """What the fake knows; tests turn its clock and line up faults."""

    now: float = 1_800_000_000.0
    seen: list[Seen] = field(default_factory=list)
    before: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    after: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    access: dict[str, float] = field(default_factory=dict)
    refresh: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    replies: dict[str, Message] = field(default_factory=dict)
    recognitions: list[recognition_pb2.Recognition] = field(default_factory=list)
    user: user_pb2.User = field(default_factory=lambda: user_pb2.User(name="users/1"))
    gate: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def count(self, method: str) -> int:
        return len(self.calls(method))

    def calls(self, method: str) -> list[Seen]:
        return [one for one in self.seen if one.method == method]

    def handle(
        self, method: str, request: Any, context: Context, work: Callable[[], Reply], *, public: bool = False
    ) -> Reply:
        """Does what every method does around its own work."""
        token = str(dict(context.invocation_metadata()).get("authorization", "")).removeprefix("Bearer ")
        with self.lock:
            self.seen.append(Seen(method, request, token))
        self._next_fault(self.before[method], context)
        if not public:
            self._authenticate(token, context)
        with self.lock:
            key = getattr(request, "request_id", "")
            kept: Any = self.replies.get(key) if key else None
            reply: Reply = kept or work()
            if key:
                self.replies[key] = reply
        self._next_fault(self.after[method], context)
        return reply

    def grant(self) -> session_pb2.SessionGrant:
        number = next(self.numbers)
        grant = session_pb2.SessionGrant(access_token=f"access-{number}", refresh_token=f"refresh-{number}")
        grant.session.name = "sessions/1"
        grant.access_token_expire_time.FromSeconds(int(self.now) + ACCESS_SECONDS)
        grant.refresh_token_expire_time.FromSeconds(int(self.now) + REFRESH_SECONDS)
        self.access[grant.access_token] = self.now + ACCESS_SECONDS
        self.refresh.add(grant.refresh_token)
        return grant

    def _next_fault(self, faults: list[Fault], context: Context) -> None:
        with self.lock:
            fault = faults.pop(0) if faults else None
        if fault is not None:
            fault(context)

    def _authenticate(self, token: str, context: Context) -> None:
        if token == "ck_good":
            return
        end = self.access.get(token)
        if end is None:
            fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
        elif end <= self.now:
            fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


class Users:
    """Accounts: one user."""

    def __init__(self, world: World) -> None:
        self.world = world

    def RegisterUser(self, request: user_service_pb2.RegisterUserRequest, context: Context) -> user_pb2.User:
        def work() -> user_pb2.User:
            self.world.user = user_pb2.User(name="users/1", email=request.email, display_name=request.display_name)
            return self.world.user

        return self.world.handle("RegisterUser", request, context, work, public=True)

    def GetUser(self, request: user_service_pb2.GetUserRequest, context: Context) -> user_pb2.User:
        return self.world.handle("GetUser", request, context, lambda: self.world.user)

    def UpdateUser(self, request: user_service_pb2.UpdateUserRequest, context: Context) -> user_pb2.User:
        def work() -> user_pb2.User:
            request.update_mask.MergeMessage(request.user, self.world.user)
            self.world.user.etag = f"{next(self.world.numbers)}"
            return self.world.user

        return self.world.handle("UpdateUser", request, context, work)

    def ChangePassword(self, request: user_service_pb2.ChangePasswordRequest, context: Context) -> Empty:
        return self.world.handle("ChangePassword", request, context, Empty)

    def DeleteUser(self, request: user_service_pb2.DeleteUserRequest, context: Context) -> Empty:
        return self.world.handle("DeleteUser", request, context, Empty)


class Sessions:
    """Log-in, rotation and a list of five."""

    def __init__(self, world: World) -> None:
        self.world = world

    def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.SessionGrant:
        if request.password != PASSWORD:
            fail(context, grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")
        return self.world.handle("CreateSession", request, context, self.world.grant, public=True)

    def RefreshSession(
        self, request: session_service_pb2.RefreshSessionRequest, context: Context
    ) -> session_pb2.SessionGrant:
        def work() -> session_pb2.SessionGrant:
            if request.refresh_token in self.world.spent:
                fail(context, grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_REUSED")
            if request.refresh_token not in self.world.refresh:
                fail(context, grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
            self.world.refresh.remove(request.refresh_token)
            self.world.spent.add(request.refresh_token)
            return self.world.grant()

        return self.world.handle("RefreshSession", request, context, work, public=True)

    def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Context
    ) -> session_service_pb2.ListSessionsResponse:
        def work() -> session_service_pb2.ListSessionsResponse:
            start = int(request.page_token or 0)
            end = min(start + (request.page_size or 2), 5)
            sessions = [session_pb2.Session(name=f"sessions/{number}") for number in range(start, end)]
            return session_service_pb2.ListSessionsResponse(
                sessions=sessions, next_page_token="" if end == 5 else str(end)
            )

        return self.world.handle("ListSessions", request, context, work)

    def GetJsonWebKeySet(
        self, request: session_service_pb2.GetJsonWebKeySetRequest, context: Context
    ) -> session_pb2.JsonWebKeySet:
        return self.world.handle("GetJsonWebKeySet", request, context, session_pb2.JsonWebKeySet, public=True)

    def DeleteSession(self, request: session_service_pb2.DeleteSessionRequest, context: Context) -> Empty:
        return self.world.handle("DeleteSession", request, context, Empty)


class Recognitions:
    """Reads everything as its bytes."""

    def __init__(self, world: World) -> None:
        self.world = world

    def RecognizeDocument(
        self, request: recognition_service_pb2.RecognizeDocumentRequest, context: Context
    ) -> recognition_pb2.Recognition:
        def work() -> recognition_pb2.Recognition:
            made = recognition_pb2.Recognition(name=f"recognitions/{len(self.world.recognitions)}")
            made.document.text = request.file or request.content.decode("latin-1")
            self.world.recognitions.append(made)
            return made

        return self.world.handle("RecognizeDocument", request, context, work)

    def ListRecognitions(
        self, request: recognition_service_pb2.ListRecognitionsRequest, context: Context
    ) -> recognition_service_pb2.ListRecognitionsResponse:
        def work() -> recognition_service_pb2.ListRecognitionsResponse:
            return recognition_service_pb2.ListRecognitionsResponse(recognitions=self.world.recognitions[::-1])

        return self.world.handle("ListRecognitions", request, context, work)

    def GetRecognition(
        self, request: recognition_service_pb2.GetRecognitionRequest, context: Context
    ) -> recognition_pb2.Recognition:
        def work() -> recognition_pb2.Recognition:
            found = [one for one in self.world.recognitions if one.name == request.name]
            if not found:
                fail(context, grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
            return found[0]

        return self.world.handle("GetRecognition", request, context, work)

    def DeleteRecognition(self, request: recognition_service_pb2.DeleteRecognitionRequest, context: Context) -> Empty:
        def work() -> Empty:
            self.world.recognitions = [one for one in self.world.recognitions if one.name != request.name]
            return Empty()

        return self.world.handle("DeleteRecognition", request, context, work)


class Notifications:
    """An endless stream; `world.gate` is set once the caller has gone."""

    def __init__(self, world: World) -> None:
        self.world = world

    def WatchNotifications(
        self, request: notification_service_pb2.WatchNotificationsRequest, context: Context
    ) -> Iterator[notification_service_pb2.WatchNotificationsResponse]:
        self.world.handle("WatchNotifications", request, context, Empty)
        # Not after the yield: gRPC does not go on with a generator whose caller left while it sent.
        context.add_callback(self.world.gate.set)
        yield notification_service_pb2.WatchNotificationsResponse(seq=1)
        self.world.gate.wait(30)


def offering(service: ServiceDescriptor, servicer: object) -> Callable[[grpc.Server], None]:
    """Returns what adds those methods of a service that the servicer has; the others are unimplemented."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in service.methods:
        behaviour = getattr(servicer, method.name, None)
        if behaviour is not None:
            sent, answered = (
                "stream" if one else "unary" for one in (method.client_streaming, method.server_streaming)
            )
            handlers[method.name] = getattr(grpc, f"{sent}_{answered}_rpc_method_handler")(
                behaviour,
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=lambda reply: reply.SerializeToString(),
            )
    generic = grpc.method_handlers_generic_handler(service.full_name, handlers)
    return lambda server: server.add_generic_rpc_handlers((generic,))


def serve(
    world: World, pool: ThreadPoolExecutor, more: Iterable[Callable[[grpc.Server], None]] = ()
) -> tuple[grpc.Server, str]:
    """Starts the fake on a free port, with `more` services; returns it and where it is."""
    server = grpc.server(pool, options=(("grpc.so_reuseport", 0),))
    offered = (
        (user_service_pb2.DESCRIPTOR, "UserService", Users(world)),
        (session_service_pb2.DESCRIPTOR, "SessionService", Sessions(world)),
        (recognition_service_pb2.DESCRIPTOR, "RecognitionService", Recognitions(world)),
        (notification_service_pb2.DESCRIPTOR, "NotificationService", Notifications(world)),
    )
    for add in (*(offering(file.services_by_name[name], servicer) for file, name, servicer in offered), *more):
        add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"
