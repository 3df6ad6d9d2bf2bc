"""How a call is made, without making it: authorisation, attempts, pauses and the one refresh in between.

The rules are generators that yield steps; an engine (engine.py, async_engine.py) does each step, sends the outcome back
in, and throws errors in. So the synchronous and the asynchronous client keep the same rules because they run the same
lines.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from candela.errors import CandelaError, DeadlineExceeded, Unauthenticated
from candela.method import Method, Req, Res
from candela.retry import RetryPolicy
from candela.tokens import TokenKeeper
from candela.user.v1 import session_pb2, session_service_pb2

# A refresh token may be sent again for 10 seconds after its first use, as after a lost answer; all attempts of a
# refresh stay inside that time, which makes them repeatable although the contract cannot call the method idempotent.
_REFRESH_TIMEOUT: Final = 8.0
REFRESH_SESSION: Final = Method.of(
    session_service_pb2.DESCRIPTOR,
    "SessionService.RefreshSession",
    session_service_pb2.RefreshSessionRequest,
    session_pb2.SessionGrant,
    timeout=_REFRESH_TIMEOUT,
    repeatable=True,
)


@dataclass(frozen=True, slots=True)
class Authorize:
    """Answer with a token to send, refreshed when `stale` is the newest; within `remaining` seconds."""

    stale: str
    remaining: float | None


@dataclass(frozen=True, slots=True)
class Send(Generic[Req, Res]):
    """Send once and answer with the response, or with a stream whose first message has arrived.

    `request` is an iterable of requests for a method that takes a stream; its answers are not waited for.
    """

    method: Method[Req, Res]
    request: Any
    token: str
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Take:
    """Answer with the next message of a stream that a Send was answered with, None at its end."""

    stream: Any


@dataclass(frozen=True, slots=True)
class Work:
    """Do what may block for a while, such as reading a file, and answer with what it returns."""

    run: Callable[[], Any]


Step: TypeAlias = Authorize | Send[Any, Any] | Pause | Take | Work
T = TypeVar("T")
Steps: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Core:
    """The rules of calls; `clock` returns seconds that only grow."""

    policy: RetryPolicy
    keeper: TokenKeeper
    clock: Callable[[], float]

    def call(self, method: Method[Any, Any], request: Any, timeout: float | None = None) -> Steps[Any]:
        """Yields the steps of one call and returns what the last Send was answered with.

        `timeout` is in seconds over all attempts: None for the method's own, infinity for none. Raises CandelaError.
        """
        request, request_id = (request, "") if method.client_streams else method.prepared(request)
        end = self.end(method.timeout if timeout is None else timeout)
        try:
            return (yield from self._attempts(method, request, end))
        except CandelaError as error:
            error.request_id = error.request_id or request_id
            raise

    def end(self, timeout: float | None) -> float | None:
        """Returns when `timeout` seconds are over, None for never."""
        return None if timeout is None or math.isinf(timeout) else self.clock() + timeout

    def _attempts(self, method: Method[Any, Any], request: Any, end: float | None) -> Steps[Any]:
        attempt, stale, refreshed = 1, "", False
        while True:
            token: str = (yield Authorize(stale, self.left(end))) if method.authenticated else ""
            try:
                return (yield Send(method, request, token, self.left(end)))
            except CandelaError as error:
                if token and not refreshed and not method.client_streams and _is_too_old(error):
                    stale, refreshed = token, True  # refused before anything was done, so every method may go again
                    continue
                pause = self.policy.pause(error, attempt, self.left(end)) if method.repeatable else None
                if pause is None:
                    raise
            attempt += 1
            yield Pause(pause)

    def refresh(self, stale: str) -> Steps[str]:
        """Yields the steps of a refresh and returns the token to use from now on."""
        sent = self.keeper.refresh_token()
        request = session_service_pb2.RefreshSessionRequest(refresh_token=sent)
        try:
            grant: session_pb2.SessionGrant = yield from self.call(REFRESH_SESSION, request)
        except CandelaError as error:
            if isinstance(error, Unauthenticated) and error.reason:
                self.keeper.end(sent)
                raise
            token = self.keeper.still_good(stale)  # a refresh is due a little early, so the old one may do for now
            if token is None:
                raise
            return token
        return self.keeper.rotate(sent, grant)

    def left(self, end: float | None) -> float | None:
        """Returns how many seconds are left until `end`, None for any number; raises DeadlineExceeded."""
        if end is None:
            return None
        left = end - self.clock()
        if left <= 0:
            raise DeadlineExceeded("the call took longer than its timeout")
        return left


def _is_too_old(error: CandelaError) -> bool:
    """Tells whether a token was refused for its age; a gateway in between may refuse it without naming a reason."""
    return isinstance(error, Unauthenticated) and error.reason in ("TOKEN_EXPIRED", "")
