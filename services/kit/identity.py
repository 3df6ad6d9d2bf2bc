"""Who this process is to the others: service tokens for outgoing calls, and the caller's own token to pass on."""

from collections import OrderedDict
from contextvars import ContextVar
from pathlib import Path

from services.kit.call import Principal
from services.kit.clock import Clock, SystemClock
from services.kit.keys import MESH_KEY, SigningKey
from services.kit.tokens import SERVICE_LIFE, sign_service_token

AUTHORIZATION = "authorization"
_RENEW_BEFORE_SECONDS = 60.0
_CACHED_TOKENS = 1024

# The `authorization` value of the call being handled, kept apart from Call so that no log of a Call can show it.
caller_authorization: ContextVar[str] = ContextVar("candela_caller_authorization", default="")


class ServiceIdentity:
    """Signs this service's own tokens with the mesh key and reuses each until a minute before its end."""

    def __init__(self, name: str, key: SigningKey, clock: Clock | None = None) -> None:
        self.name = name
        self._key = key
        self._clock: Clock = clock or SystemClock()
        self._tokens: OrderedDict[tuple[str, str, str, str], tuple[str, float]] = OrderedDict()

    @classmethod
    def load(cls, name: str, keys: Path) -> "ServiceIdentity":
        """Read the mesh key from the folder of keys; OSError or ValueError when it cannot be."""
        return cls(name, SigningKey.load(keys / MESH_KEY))

    def token_for(self, callee: str, principal: Principal | None = None) -> str:
        """Return a token for calling `callee` on behalf of `principal`'s user, or of nobody."""
        acting = (principal.tenant, principal.user, principal.api_key) if principal else ("", "", "")
        now = self._clock.monotonic()
        held = self._tokens.get((callee, *acting))
        if held is not None and held[1] > now:
            return held[0]
        token = sign_service_token(self._key, self.name, callee, principal, self._clock)
        self._tokens[(callee, *acting)] = (token, now + SERVICE_LIFE.total_seconds() - _RENEW_BEFORE_SECONDS)
        if len(self._tokens) > _CACHED_TOKENS:
            self._tokens.popitem(last=False)
        return token

    def metadata_for(self, callee: str, principal: Principal | None = None) -> tuple[tuple[str, str], ...]:
        """Return the metadata that makes a call to `callee` ours."""
        return ((AUTHORIZATION, f"Bearer {self.token_for(callee, principal)}"),)
