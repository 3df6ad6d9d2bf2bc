"""Tokens: what holds, and a table of attacks that do not."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.kit.call import Principal
from services.kit.clock import ManualClock
from services.kit.errors import Unauthenticated
from services.kit.identity import ServiceIdentity
from services.kit.keys import MESH_KEY, USER_KEY, USER_KEY_SET, SigningKey, ensure_keys, parse_key_set, write_key_set
from services.kit.tokens import TokenVerifier, sign_service_token, sign_user_token
from tests.support.grpc_server import MeshKeys

PRINCIPAL = Principal(tenant="t1", user="u1", session="s1", role="PRO")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def keys(tmp_path: Path, clock: ManualClock) -> MeshKeys:
    return MeshKeys(tmp_path / "keys", clock)


@pytest.fixture
def verifier(keys: MeshKeys) -> TokenVerifier:
    return keys.verifier("inference")


def test_a_user_token_names_its_user(keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock) -> None:
    verified = verifier.verify(sign_user_token(keys.user, PRINCIPAL, clock))
    principal = verified.principal
    assert (principal.tenant, principal.user, principal.session, principal.role) == ("t1", "u1", "s1", "PRO")
    assert "write:user" in principal.permissions
    assert "read:admin" not in principal.permissions
    assert verified.issued_at == clock.now().timestamp()


def test_a_service_token_names_the_service_and_whom_it_acts_for(
    keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock
) -> None:
    principal = verifier.verify(sign_service_token(keys.mesh, "recognition", "inference", PRINCIPAL, clock)).principal
    assert (principal.service, principal.user, principal.tenant) == ("recognition", "u1", "t1")
    assert principal.permissions == frozenset()
    alone = verifier.verify(sign_service_token(keys.mesh, "recognition", "inference", None, clock)).principal
    assert (alone.service, alone.user, alone.tenant) == ("recognition", "", "default")


def _claims(clock: ManualClock, **changes: Any) -> dict[str, Any]:
    now = clock.now().timestamp()
    claims: dict[str, Any] = {
        "iss": "candela",
        "aud": "candela",
        "sub": "u1",
        "tenant": "t1",
        "sid": "s1",
        "role": "ADMIN",
    }
    claims |= {"iat": now, "exp": int(now) + 900, "jti": "j"} | changes
    return {name: value for name, value in claims.items() if value is not None}


def _signed(keys: MeshKeys, clock: ManualClock, *, kid: str | None = None, **changes: Any) -> str:
    headers = {"kid": kid or keys.user.kid}
    return jwt.encode(_claims(clock, **changes), keys.user.private, algorithm="EdDSA", headers=headers)


def _unsigned(keys: MeshKeys, clock: ManualClock) -> str:
    no_key: Any = None
    return jwt.encode(_claims(clock), no_key, algorithm="none", headers={"kid": keys.user.kid})


def _hmac_with_public_key(keys: MeshKeys, clock: ManualClock) -> str:
    """Return a token signed with the public key as an HMAC secret, made by hand: PyJWT refuses to."""
    import hashlib  # noqa: PLC0415 - for this attack alone
    import hmac  # noqa: PLC0415 - for this attack alone

    public = keys.user.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': keys.user.kid})}.{part(_claims(clock))}"
    signature = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _foreign_key(keys: MeshKeys, clock: ManualClock) -> str:
    stranger = SigningKey.generate()
    return jwt.encode(_claims(clock), stranger.private, algorithm="EdDSA", headers={"kid": stranger.kid})


def _foreign_key_under_our_name(keys: MeshKeys, clock: ManualClock) -> str:
    stranger = Ed25519PrivateKey.generate()
    return jwt.encode(_claims(clock), stranger, algorithm="EdDSA", headers={"kid": keys.user.kid})


def _tampered(keys: MeshKeys, clock: ManualClock) -> str:
    header, _, signature = _signed(keys, clock, role="FREE").split(".")
    claims = base64.urlsafe_b64encode(json.dumps(_claims(clock)).encode()).rstrip(b"=").decode()
    return f"{header}.{claims}.{signature}"


def _key_in_header(keys: MeshKeys, clock: ManualClock) -> str:
    stranger = SigningKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}
    headers = {"kid": stranger.kid, "jwk": jwk, "jku": "https://example.org/keys"}
    return jwt.encode(_claims(clock), stranger.private, algorithm="EdDSA", headers=headers)


def _service_token_for_another(keys: MeshKeys, clock: ManualClock) -> str:
    return sign_service_token(keys.mesh, "chat", "user", None, clock)


def _user_claims_by_mesh_key(keys: MeshKeys, clock: ManualClock) -> str:
    return jwt.encode(_claims(clock), keys.mesh.private, algorithm="EdDSA", headers={"kid": keys.mesh.kid})


def _service_claims_by_user_key(keys: MeshKeys, clock: ManualClock) -> str:
    return sign_service_token(keys.user, "user", "inference", PRINCIPAL, clock)


_ATTACKS: dict[str, Callable[[MeshKeys, ManualClock], str]] = {
    "algorithm none": _unsigned,
    "HS256 with the public key": _hmac_with_public_key,
    "a key of nobody": _foreign_key,
    "a key of nobody under our kid": _foreign_key_under_our_name,
    "changed claims": _tampered,
    "its own key in the header": _key_in_header,
    "a service token for another service": _service_token_for_another,
    "user claims signed by the mesh key": _user_claims_by_mesh_key,
    "service claims signed by the user key": _service_claims_by_user_key,
    "no kid": lambda keys, clock: jwt.encode(_claims(clock), keys.user.private, algorithm="EdDSA"),
    "another audience": lambda keys, clock: _signed(keys, clock, aud="inference"),
    "several audiences": lambda keys, clock: _signed(keys, clock, aud=["candela", "other"]),
    "no audience": lambda keys, clock: _signed(keys, clock, aud=None),
    "another issuer": lambda keys, clock: _signed(keys, clock, iss="somebody"),
    "no issuer": lambda keys, clock: _signed(keys, clock, iss=None),
    "no end": lambda keys, clock: _signed(keys, clock, exp=None),
    "an end that is no number": lambda keys, clock: _signed(keys, clock, exp="tomorrow"),
    "an endless end": lambda keys, clock: _signed(keys, clock, exp=1e400),
    "an end that is not a number": lambda keys, clock: _signed(keys, clock, exp=float("nan")),
    "not yet": lambda keys, clock: _signed(keys, clock, nbf=clock.now().timestamp() + 60),
    "issued in the future": lambda keys, clock: _signed(keys, clock, iat=clock.now().timestamp() + 60),
    "no user": lambda keys, clock: _signed(keys, clock, sub=None),
    "an empty user": lambda keys, clock: _signed(keys, clock, sub=""),
    "no tenant": lambda keys, clock: _signed(keys, clock, tenant=None),
    "no session": lambda keys, clock: _signed(keys, clock, sid=None),
    "a role that is no text": lambda keys, clock: _signed(keys, clock, role=["ADMIN"]),
    "too long": lambda keys, clock: _signed(keys, clock, padding="x" * 5000),
    "not a token": lambda keys, clock: "nonsense",
    "empty parts": lambda keys, clock: "..",
    "not even text": lambda keys, clock: "\x00\xff.é.☃",
    "a list for a header": lambda keys, clock: f"{base64.urlsafe_b64encode(b'[]').decode()}.e30.e30",
    "nothing": lambda keys, clock: "",
}


@pytest.mark.parametrize("attack", _ATTACKS)
def test_attacks_are_refused(keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock, attack: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        verifier.verify(_ATTACKS[attack](keys, clock))
    assert refused.value.reason == "TOKEN_INVALID"


def test_an_expired_token_says_that_it_expired(keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock) -> None:
    token = sign_user_token(keys.user, PRINCIPAL, clock)
    verifier.verify(token)
    clock.advance(timedelta(minutes=15, seconds=6))
    with pytest.raises(Unauthenticated) as refused:  # also although it was remembered
        verifier.verify(token)
    assert refused.value.reason == "TOKEN_EXPIRED"


def test_keys_rotate_without_a_restart(keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock) -> None:
    old_token = sign_user_token(keys.user, PRINCIPAL, clock)
    verifier.verify(old_token)
    new = SigningKey.generate()
    write_key_set(keys.folder / USER_KEY_SET, [new.public, keys.user.public])
    clock.advance(1)
    verifier.verify(sign_user_token(new, PRINCIPAL, clock))
    verifier.verify(old_token)
    write_key_set(keys.folder / USER_KEY_SET, [new.public])
    clock.advance(1)
    verifier.verify(sign_user_token(new, PRINCIPAL, clock))
    with pytest.raises(Unauthenticated):  # a key that is gone takes its tokens along, remembered ones too
        verifier.verify(old_token)


def test_a_damaged_key_set_leaves_the_keys_as_they_were(
    keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    token = sign_user_token(keys.user, PRINCIPAL, clock)
    verifier.verify(token)
    (keys.folder / USER_KEY_SET).write_text('{"keys": [{"kty": "OKP"')
    clock.advance(1)
    verifier.verify(token)
    assert "cannot be read" in caplog.text


def test_remembered_tokens_are_bounded(keys: MeshKeys, verifier: TokenVerifier, clock: ManualClock) -> None:
    small = TokenVerifier("inference", verifier._users, verifier._mesh, clock, cached=10)
    for number in range(25):
        small.verify(sign_user_token(keys.user, Principal("t1", f"u{number}", "s", role="FREE"), clock))
    assert len(small._held) == 10


def test_a_service_reuses_its_token_until_a_minute_before_its_end(keys: MeshKeys, clock: ManualClock) -> None:
    identity = ServiceIdentity("recognition", keys.mesh, clock)
    first = identity.metadata_for("inference", PRINCIPAL)
    clock.advance(timedelta(minutes=3, seconds=59))
    assert identity.metadata_for("inference", PRINCIPAL) == first
    clock.advance(timedelta(seconds=2))
    assert identity.metadata_for("inference", PRINCIPAL) != first
    assert identity.token_for("inference") != identity.token_for("user")


def test_private_keys_are_private_and_made_once(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ensure_keys(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for name in (USER_KEY, MESH_KEY):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    key = SigningKey.load(tmp_path / USER_KEY)
    assert list(parse_key_set((tmp_path / USER_KEY_SET).read_text())) == [key.kid]
    assert "private" not in repr(key).lower()


@pytest.mark.parametrize("document", ["", "{}", "[]", '{"keys": 1}', '{"keys": [{"kty":"OKP","crv":"Ed25519"}]}'])
def test_a_damaged_key_set_is_an_error(document: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any: json's own or ours
        parse_key_set(document)
