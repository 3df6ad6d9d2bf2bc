"""The tokens of a session, and when they are due."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from candela.errors import Unauthenticated
from candela.user.v1 import session_pb2

# An access token is replaced this many seconds before its end, so that no call leaves with one that ends on the way.
REFRESH_MARGIN: Final = 60.0

TokenStore = Callable[["Tokens | None"], None]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A session's tokens. They are secrets: whoever has them is the user.

    Ends are in seconds since 1970. A refresh token works once, so a store must keep the newest `Tokens` only.
    """

    session: str
    access_token: str = field(repr=False)
    access_token_end: float
    refresh_token: str = field(repr=False)
    refresh_token_end: float

    @classmethod
    def of(cls, grant: session_pb2.SessionGrant) -> "Tokens":
        """Takes the tokens out of what a log-in or a refresh returned."""
        return cls(
            session=grant.session.name,
            access_token=grant.access_token,
            access_token_end=grant.access_token_expire_time.ToMicroseconds() / 1e6,
            refresh_token=grant.refresh_token,
            refresh_token_end=grant.refresh_token_expire_time.ToMicroseconds() / 1e6,
        )


class TokenKeeper:
    """Holds what a client authenticates with: an API key for good, or a session's tokens as they rotate.

    It does no locking and no calls; the engines do. `store` is called with every new `Tokens`, and with None when
    the session has ended. `now` returns seconds since 1970.
    """

    def __init__(
        self,
        *,
        api_key: str = "",
        tokens: Tokens | None = None,
        store: TokenStore | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._api_key = api_key
        self._tokens = tokens
        self._store = store
        self._now = now

    @property
    def tokens(self) -> Tokens | None:
        """The session's tokens, None without a session."""
        return self._tokens

    def usable(self, stale: str) -> str | None:
        """Returns a token to send, None when it has to be refreshed first.

        `stale` is a token that the server just refused as too old; empty for none. Raises Unauthenticated when there is
        nothing to send.
        """
        if self._api_key:
            return self._api_key
        tokens = self._required()
        if tokens.access_token == stale or tokens.access_token_end - self._now() < REFRESH_MARGIN:
            return None
        return tokens.access_token

    def still_good(self, stale: str) -> str | None:
        """Returns the access token if it can be used although a refresh failed, None otherwise."""
        tokens = self._tokens
        if tokens is None or tokens.access_token == stale or tokens.access_token_end <= self._now():
            return None
        return tokens.access_token

    def refresh_token(self) -> str:
        """Returns the refresh token; raises Unauthenticated without one that still lives, and ends the session."""
        tokens = self._required()
        if tokens.refresh_token_end <= self._now():
            self.clear()
            raise Unauthenticated("the session has ended; log in again", reason="TOKEN_EXPIRED")
        return tokens.refresh_token

    def keep(self, grant: session_pb2.SessionGrant) -> None:
        """Takes the tokens of a log-in."""
        self._set(Tokens.of(grant))

    def rotate(self, sent: str, grant: session_pb2.SessionGrant) -> str:
        """Takes the tokens that the refresh token `sent` was traded for and returns the access token.

        When somebody logged out or in meanwhile, the grant belongs to a session that is no longer ours: it is dropped,
        and Unauthenticated is raised after a log-out.
        """
        if self._required().refresh_token == sent:
            self.keep(grant)
        return self._required().access_token

    def end(self, sent: str) -> None:
        """Forgets the session whose refresh token `sent` was refused, unless there is another one by now."""
        if self._tokens is not None and self._tokens.refresh_token == sent:
            self.clear()

    def clear(self) -> None:
        """Forgets the session."""
        if self._tokens is not None:
            self._set(None)

    def _set(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        if self._store is not None:
            self._store(tokens)

    def _required(self) -> Tokens:
        if self._tokens is None:
            raise Unauthenticated("log in first", reason="TOKEN_MISSING")
        return self._tokens
