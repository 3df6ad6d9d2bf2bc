"""Access tokens signed with the user key, its public keys, fresh refresh tokens and API keys."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from services.kit.call import Principal
from services.kit.clock import Clock
from services.kit.key_files import KeySetFile
from services.kit.key_text import SECRET_BYTES, SHOWN_CHARACTERS, digest_of, key_text
from services.kit.keys import SigningKey, key_set
from services.kit.tokens import sign_user_token
from services.user.domain.accounts import User
from services.user.domain.sessions import Session
from services.user.ports import AccessToken, PublicKey
from services.user.ports.api_keys import KeySecret

_REFRESH_TOKEN_BYTES = 32


class SignedAccessTokens:
    """Signs with one private key; publishes the key set file, which may hold older keys too."""

    def __init__(self, key: SigningKey, published: KeySetFile, clock: Clock) -> None:
        self._key = key
        self._published = published
        self._clock = clock

    def issue(self, user: User, session: Session, expire_time: datetime) -> AccessToken:
        principal = Principal(tenant=user.tenant, user=user.id, session=session.id, role=user.role.value)
        ends = datetime.fromtimestamp(int(expire_time.timestamp()), UTC)  # a JWT's `exp` is whole seconds
        life = max(ends - self._clock.now(), timedelta(0)) + timedelta(milliseconds=1)
        return AccessToken(sign_user_token(self._key, principal, self._clock, life), ends)

    def public_keys(self) -> Sequence[PublicKey]:
        # The signing key first, and always: a token must never name a key that is not published.
        keys = {self._key.kid: self._key.public} | self._published.keys()
        return [PublicKey(kid=entry["kid"], x=entry["x"]) for entry in key_set(keys.values())["keys"]]


class RandomKeySecrets:
    """API keys of 256 random bits."""

    def new(self) -> KeySecret:
        text = key_text(secrets.token_bytes(SECRET_BYTES))
        return KeySecret(text, digest_of(text), text[:SHOWN_CHARACTERS])


class RandomRefreshSecrets:
    """Refresh tokens of 256 random bits."""

    def new(self) -> str:
        return secrets.token_urlsafe(_REFRESH_TOKEN_BYTES)
