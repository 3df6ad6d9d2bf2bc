"""Who calls what: the facts of one RPC that use cases and adapters may need."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from services.kit.errors import Internal, Unauthenticated

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified identity: a user (through a session or an API key) or a service acting for one.

    Empty strings mean "none". `permissions` are the six names of requirements.md that the role carries. `scopes` are
    what an API key may be used for (names of the contract's ApiKeyScope), `requests_per_minute` is its own limit, 0 for
    none.
    """

    tenant: str
    user: str = ""
    session: str = ""
    api_key: str = ""
    service: str = ""
    role: str = ""
    permissions: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    requests_per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One RPC as its handler sees it, the same behind unary calls, streams and Exchange items.

    `deadline` is in seconds of the process's monotonic clock, None without one. `request_id` is the idempotency key
    (empty when the caller sent none); `fingerprint` is the SHA-256 of method and request without its request_id.
    """

    method: str
    principal: Principal | None = None
    request_id: str = ""
    fingerprint: bytes = b""
    deadline: float | None = None
    peer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Principal:
        """Return the verified principal; raises Unauthenticated on a call without one."""
        if self.principal is None:
            raise Unauthenticated("this method needs a signed-in caller", reason="TOKEN_MISSING")
        return self.principal


_current: ContextVar[Call | None] = ContextVar("candela_call", default=None)


def current_call() -> Call:
    """Return the call being handled in this context; Internal outside of one."""
    call = _current.get()
    if call is None:
        raise Internal("no call is being handled here")
    return call


def call_or_none() -> Call | None:
    """Return the call being handled in this context, None outside of one."""
    return _current.get()


@contextmanager
def handling(call: Call) -> Iterator[Call]:
    """Make `call` the current one inside the block (the pipeline's work; tests use it too)."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)
