"""Stage 3: who is calling, and whether they may. Only `authorization` says who; no other header is believed."""

from typing import Protocol

from services.kit.access import Access, Level, check
from services.kit.call import Principal
from services.kit.errors import PermissionDenied, Unauthenticated
from services.kit.key_text import PREFIX
from services.kit.pipeline.methods import MethodInfo
from services.kit.revocation import Revocations
from services.kit.tokens import TokenVerifier

API_KEY_PREFIX = PREFIX
_SCHEME = "bearer "


class ApiKeys(Protocol):
    """Turns API keys (`ck_…`) into whom they stand for."""

    async def principal_of(self, key: str) -> Principal:
        """Return the key's principal; Unauthenticated when it is unknown, revoked or expired."""

    async def count(self, caller: Principal) -> None:
        """Count an admitted call of a key; ResourceExhausted (RATE_LIMITED) when it is one too many."""

    def refused(self, caller: Principal, method: str, reason: str) -> None:
        """Remember that a key was refused a method."""


class Authenticator:
    """Verifies the caller of a method from the `authorization` that was sent."""

    def __init__(
        self, tokens: TokenVerifier, revocations: Revocations | None = None, api_keys: ApiKeys | None = None
    ) -> None:
        """Verify with `tokens`; refuse what `revocations` lists; without `api_keys` no API key holds."""
        self._tokens = tokens
        self._revocations = revocations
        self._api_keys = api_keys

    async def authenticate(self, access: Access | None, authorization: str) -> Principal | None:
        """Return the verified caller, None on a PUBLIC method (whose token is not looked at) and without a token.

        Raises Unauthenticated when what was sent does not hold, Unavailable when that cannot be told right now.
        """
        if access is None or access.level is Level.PUBLIC:
            return None
        if not authorization:
            return None
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated("authorization must be `Bearer` and a token")
        token = authorization[len(_SCHEME) :].strip()
        if token.startswith(API_KEY_PREFIX):
            return await self._by_key(token)
        verified = self._tokens.verify(token)
        if self._revocations is not None:
            self._revocations.check(verified)
        return verified.principal

    def holds_until(self, authorization: str) -> float | None:
        """Return when a token ends, in Unix seconds; None for an API key. Raises Unauthenticated as `authenticate`."""
        token = authorization[len(_SCHEME) :].strip()
        return None if token.startswith(API_KEY_PREFIX) else self._tokens.verify(token).expires_at

    async def admit(self, info: MethodInfo, principal: Principal | None) -> None:
        """Refuse a caller whom the method is not open to, and a key that calls too often; see access.check."""
        keys = self._api_keys
        if keys is None or principal is None or not principal.api_key or principal.service:
            check(info.access, principal, info.scope)
            return
        try:
            check(info.access, principal, info.scope)
        except PermissionDenied as error:
            keys.refused(principal, info.name, error.reason)
            raise
        await keys.count(principal)

    async def _by_key(self, key: str) -> Principal:
        if self._api_keys is None:
            raise Unauthenticated("API keys are not accepted here")
        return await self._api_keys.principal_of(key)
