"""The asynchronous client."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from candela.api.resources import AsyncResources
from candela.async_engine import AsyncEngine
from candela.core import Core
from candela.endpoint import Tls, resolve
from candela.errors import Unauthenticated
from candela.method import Method, Req, Res
from candela.requests import CURRENT
from candela.retry import RetryPolicy
from candela.streams import AsyncStream
from candela.tokens import TokenKeeper, Tokens, TokenStore
from candela.user.v1 import session_pb2, user_pb2


class AsyncClient(AsyncResources):
    """Candela over one gRPC channel; tasks of one event loop may share it. Close it, or use `async with`.

    Args:
        endpoint: `host:port`, `http://…` or `https://…`; else CANDELA_ENDPOINT, else `localhost:8080`.
        tls: True or Tls(…) for TLS, False for plaintext. By default TLS unless Candela is on this machine.
        api_key: a key (`ck_…`) to call with instead of logging in.
        tokens: a session to go on with, as `store` was given it.
        store: called with every new Tokens, and with None when the session has ended; keep only the newest.
        retry: when calls are sent again.
        sleep, clock, now: pauses in seconds, a clock that only grows, seconds since 1970; for tests.

    """

    def __init__(  # noqa: PLR0913 -- all but the first by name
        self,
        endpoint: str | None = None,
        *,
        tls: Tls | bool | None = None,
        api_key: str = "",
        tokens: Tokens | None = None,
        store: TokenStore | None = None,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keeper = TokenKeeper(api_key=api_key, tokens=tokens, store=store, now=now)
        self._engine = AsyncEngine(
            resolve(endpoint, tls), Core(retry or RetryPolicy(), self._keeper, clock), sleep=sleep
        )

    @property
    def tokens(self) -> Tokens | None:
        """The session's tokens, None when not logged in."""
        return self._keeper.tokens

    async def register(
        self,
        *,
        password: str,
        email: str = "",
        phone: str = "",
        username: str = "",
        display_name: str = "",
        timeout: float | None = None,
    ) -> user_pb2.User:
        """Makes an account and returns it; log in afterwards. An e-mail address or a phone number is needed."""
        return await self.users.register(
            password,
            email=email,
            phone=phone,
            username=username,
            display_name=display_name,
            timeout=timeout,
        )

    async def login(
        self, identifier: str, password: str, *, device: str = "", timeout: float | None = None
    ) -> session_pb2.Session:
        """Logs in with an e-mail address, phone number or username; from then on every call is the user's.

        Tokens are kept in memory and refreshed by themselves until the session ends.
        """
        grant = await self.sessions.create(identifier, password, device=device, timeout=timeout)
        self._keeper.keep(grant)
        return grant.session

    async def logout(self, *, timeout: float | None = None) -> None:
        """Ends the session, here and everywhere. One that has ended already is only forgotten."""
        if self._keeper.tokens is None:
            return
        with suppress(Unauthenticated):  # it has ended: what was wanted
            await self.sessions.revoke(CURRENT, timeout=timeout)
        self._keeper.clear()

    async def call(self, method: Method[Req, Res], request: Req, *, timeout: float | None = None) -> Res:
        """Calls any unary method of the contract, with the same tokens, retries and errors."""
        return await self._engine.unary(method, request, timeout)

    async def stream(self, method: Method[Req, Res], request: Req, *, timeout: float | None = None) -> AsyncStream[Res]:
        """Calls any method of the contract that answers with a stream. Use it in an `async with` block."""
        return await self._engine.stream(method, request, timeout)

    async def close(self) -> None:
        """Closes the channel. The session lives on until it is logged out or ends."""
        await self._engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
