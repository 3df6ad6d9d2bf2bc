"""Access tokens of users and of services: EdDSA-signed JWTs, made and checked here and nowhere else.

Which key set holds a token's `kid` decides what it can be: a key of `user-jwks.json` signs user tokens only and one of
`mesh-jwks.json` service tokens only, so neither kind can pass for the other whatever its claims say.
`iat` has fractions of a second (RFC 7519 allows them): a sign-in right after "sign out everywhere" must hold.
"""

import math
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import jwt

from services.kit.access import permissions_of
from services.kit.call import DEFAULT_TENANT, Principal
from services.kit.clock import Clock, SystemClock
from services.kit.errors import Unauthenticated
from services.kit.key_files import KeySetFile
from services.kit.keys import SigningKey

ALGORITHM: Final = "EdDSA"
USER_ISSUER: Final = "candela"
USER_AUDIENCE: Final = "candela"
MESH_ISSUER: Final = "candela-mesh"
USER_LIFE = timedelta(minutes=15)
SERVICE_LIFE = timedelta(minutes=5)
MAX_TOKEN_CHARACTERS = 4096
_LEEWAY_SECONDS = 5.0  # how far the clocks of two machines may be apart
_CACHED_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that held: whom it names, and when it was issued and ends, in Unix seconds."""

    principal: Principal
    issued_at: float
    expires_at: float


def sign_user_token(key: SigningKey, principal: Principal, clock: Clock, life: timedelta = USER_LIFE) -> str:
    """Return an access token for a user's session. `principal` needs tenant, user, session and role."""
    now = clock.now().timestamp()
    claims = {
        "iss": USER_ISSUER,
        "aud": USER_AUDIENCE,
        "sub": principal.user,
        "tenant": principal.tenant,
        "sid": principal.session,
        "role": principal.role,
        "iat": now,
        "exp": int(now + life.total_seconds()),
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})


def sign_service_token(key: SigningKey, service: str, callee: str, acting_for: Principal | None, clock: Clock) -> str:
    """Return a 5-minute token that lets `service` call `callee`, for itself or for a user."""
    now = clock.now().timestamp()
    claims = {
        "iss": MESH_ISSUER,
        "aud": callee,
        "sub": service,
        "tenant": acting_for.tenant if acting_for else DEFAULT_TENANT,
        "user": acting_for.user if acting_for else "",
        "api_key": acting_for.api_key if acting_for else "",
        "iat": now,
        "exp": int(now + SERVICE_LIFE.total_seconds()),
    }
    return jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid})


class TokenVerifier:
    """Checks tokens for one service and remembers those that held, a bounded number and never past their end."""

    def __init__(
        self,
        service: str,
        users: KeySetFile,
        mesh: KeySetFile,
        clock: Clock | None = None,
        cached: int = _CACHED_TOKENS,
    ) -> None:
        """Verify user tokens against `users`, and service tokens addressed to `service` against `mesh`."""
        self._service = service
        self._users = users
        self._mesh = mesh
        self._clock: Clock = clock or SystemClock()
        self._cached = cached
        self._held: OrderedDict[str, Verified] = OrderedDict()
        self._versions = (-1, -1)

    def verify(self, token: str) -> Verified:
        """Return whom the token names; Unauthenticated (TOKEN_INVALID, TOKEN_EXPIRED) when it does not hold."""
        versions = (self._users.version(), self._mesh.version())
        if versions != self._versions:  # a key may be gone, and with it every token that it signed
            self._held.clear()
            self._versions = versions
        held = self._held.get(token)
        if held is not None and held.expires_at > self._clock.now().timestamp():
            return held
        verified = self._check(token)
        self._held[token] = verified
        if len(self._held) > self._cached:
            self._held.popitem(last=False)
        return verified

    def _check(self, token: str) -> Verified:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise _invalid("the token is too long")
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            if (key := self._users.keys().get(kid)) is not None:
                claims = self._decode(token, key, USER_ISSUER, USER_AUDIENCE, ("sub", "sid", "tenant", "role"))
                return _user(claims)
            if (key := self._mesh.keys().get(kid)) is not None:
                claims = self._decode(token, key, MESH_ISSUER, self._service, ("sub", "tenant"))
                return _service(claims)
        except (jwt.PyJWTError, ValueError, TypeError) as exc:
            # ValueError and TypeError: claims and headers of a wrong JSON type that PyJWT lets through.
            raise _invalid("the token is not one of ours") from exc
        raise _invalid("the token is not signed by a known key")

    def _decode(self, token: str, key: Any, issuer: str, audience: str, strings: tuple[str, ...]) -> dict[str, Any]:
        # Times are checked below, by the injected clock; PyJWT would read the machine's own.
        options: Any = {"require": ["iat", "exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}
        claims = jwt.decode(token, key, algorithms=[ALGORITHM], audience=audience, issuer=issuer, options=options)
        if any(not isinstance(claims.get(name), str) or not claims[name] for name in strings):
            raise ValueError("a claim is missing")
        if isinstance(claims["aud"], list):
            raise ValueError("a token is for one audience")
        now = self._clock.now().timestamp()
        issued, begins, ends = (float(claims.get(name, 0)) for name in ("iat", "nbf", "exp"))
        if not all(map(math.isfinite, (issued, begins, ends))):  # JSON in Python knows Infinity and NaN
            raise ValueError("a time is no time")
        if max(issued, begins) > now + _LEEWAY_SECONDS:
            raise ValueError("the token is from the future")
        if ends <= now - _LEEWAY_SECONDS:
            raise Unauthenticated("the token has expired", reason="TOKEN_EXPIRED")
        return claims


def _invalid(message: str) -> Unauthenticated:
    return Unauthenticated(message, reason="TOKEN_INVALID")


def _user(claims: dict[str, Any]) -> Verified:
    role = claims["role"]
    principal = Principal(
        tenant=claims["tenant"],
        user=claims["sub"],
        session=claims["sid"],
        role=role,
        permissions=permissions_of(role),
    )
    return Verified(principal, float(claims["iat"]), float(claims["exp"]))


def _service(claims: dict[str, Any]) -> Verified:
    user, api_key = claims.get("user", ""), claims.get("api_key", "")
    if not isinstance(user, str) or not isinstance(api_key, str):
        raise ValueError("a claim has a wrong type")
    principal = Principal(tenant=claims["tenant"], user=user, api_key=api_key, service=claims["sub"])
    return Verified(principal, float(claims["iat"]), float(claims["exp"]))
