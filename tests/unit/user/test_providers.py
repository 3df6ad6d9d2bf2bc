"""Hashes, tokens and blinding."""

import asyncio
import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bcrypt
import jwt
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.kit.call import Call
from services.kit.clock import ManualClock, SystemClock
from services.kit.errors import InvalidArgument
from services.kit.key_files import KeySetFile
from services.kit.keys import USER_KEY, USER_KEY_SET, SigningKey, ensure_keys, write_key_set
from services.kit.redis import redis_client
from services.kit.tokens import TokenVerifier
from services.user.domain.accounts import Role, User
from services.user.domain.sessions import SessionRules, opened
from services.user.providers.blinding import KeyedBlinder
from services.user.providers.gauges import ActiveUsersGauge, RedisMemoryGauge
from services.user.providers.passwords import BcryptHasher
from services.user.providers.tokens import RandomRefreshSecrets, SignedAccessTokens

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ADA = User("default", "u1", "a@b.c", "", "", "", NOW, NOW, b"", role=Role.PRO)


async def test_a_hash_is_bcrypt_with_a_random_salt() -> None:
    hasher = BcryptHasher(5)
    one, two = await hasher.hash("pass\0word"), await hasher.hash("pass\0word")
    assert one != two
    assert one.startswith(b"$2b$05$")
    assert len(one) == 60
    assert await hasher.verify("pass\0word", one)
    assert not await hasher.verify("pass\0wort", one)
    hasher.close()


async def test_72_bytes_are_the_bound() -> None:
    hasher = BcryptHasher(4)
    known = await hasher.hash("é" * 36)
    assert await hasher.verify("é" * 36, known)
    assert not await hasher.verify("é" * 36 + "x", known)
    with pytest.raises(InvalidArgument):
        await hasher.hash("é" * 36 + "x")
    hasher.close()


async def test_nobody_has_no_right_password_and_takes_the_same_time() -> None:
    hasher = BcryptHasher(9, threads=1)
    known = await hasher.hash("right")

    async def fastest(password: str, against: bytes | None) -> float:
        times = []
        for _ in range(5):
            began = time.process_time()  # what it costs; how long it takes depends on what else the machine does
            assert not await hasher.verify(password, against)
            times.append(time.process_time() - began)
        return min(times)

    somebody, nobody = await fastest("wrong", known), await fastest("wrong", None)
    overlong = await fastest("x" * 1024, known)
    assert nobody == pytest.approx(somebody, rel=0.5)
    assert overlong == pytest.approx(somebody, rel=0.5)
    assert not bcrypt.checkpw(b"right", hasher._nobody)
    hasher.close()


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    hasher = BcryptHasher(10, threads=1)
    hashing = asyncio.gather(*(hasher.hash("password") for _ in range(3)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20
    await hashing
    hasher.close()


def test_an_access_token_says_who_and_how_long(tmp_path: Path) -> None:
    ensure_keys(tmp_path)
    key, clock = SigningKey.load(tmp_path / USER_KEY), ManualClock(NOW)
    published = KeySetFile(tmp_path / USER_KEY_SET, clock)
    tokens = SignedAccessTokens(key, published, clock)
    session = opened("default", "s1", "u1", "", NOW, SessionRules())
    token = tokens.issue(ADA, session, NOW + timedelta(minutes=15))
    assert token.expire_time == datetime(2026, 3, 1, 12, 15, 0, tzinfo=UTC)
    claims = jwt.decode(token.text, options={"verify_signature": False})
    assert {name: claims[name] for name in ("iss", "aud", "sub", "tenant", "sid", "role")} == {
        "iss": "candela", "aud": "candela", "sub": "u1", "tenant": "default", "sid": "s1", "role": "PRO",
    }  # fmt: skip
    assert claims["exp"] == token.expire_time.timestamp()
    assert jwt.get_unverified_header(token.text) == {"alg": "EdDSA", "kid": key.kid, "typ": "JWT"}
    verifier = TokenVerifier("user", published, KeySetFile(tmp_path / "none"), clock)
    assert verifier.verify(token.text).principal.role == "PRO"


def test_the_signing_key_is_published_first_and_older_ones_after_it(tmp_path: Path) -> None:
    key, older = SigningKey.generate(), SigningKey.generate()
    path = tmp_path / "jwks.json"
    tokens = SignedAccessTokens(key, KeySetFile(path), SystemClock())
    assert [public.kid for public in tokens.public_keys()] == [key.kid]  # also while the file is missing
    write_key_set(path, [older.public, key.public])
    tokens = SignedAccessTokens(key, KeySetFile(path), SystemClock())
    assert [public.kid for public in tokens.public_keys()] == [key.kid, older.kid]
    assert all(len(public.x) == 43 for public in tokens.public_keys())


def test_refresh_tokens_are_random() -> None:
    made = {RandomRefreshSecrets().new() for _ in range(100)}
    assert len(made) == 100
    assert all(len(token) == 43 for token in made)


def test_blinding_keeps_equal_requests_equal_and_hides_what_they_hash() -> None:
    call = Call("/m", fingerprint=b"f" * 32, request_id="r")
    one, two = KeyedBlinder(b"a" * 32), KeyedBlinder(b"b" * 32)
    assert one.blinded(call) == one.blinded(replace(call))
    assert len({one.blinded(call).fingerprint, two.blinded(call).fingerprint, call.fingerprint}) == 3
    assert one.blinded(replace(call, fingerprint=b"")).fingerprint == b""
    with pytest.raises(ValueError, match="16 bytes"):
        KeyedBlinder(b"short")


def test_active_users_are_shown_under_the_promised_name() -> None:
    ActiveUsersGauge().show(3)
    assert REGISTRY.get_sample_value("active_users_total") == 3


async def test_the_memory_of_redis_is_shown_and_unknown_while_it_is_away(redis: Redis) -> None:
    await RedisMemoryGauge(redis).measure()
    used = REGISTRY.get_sample_value("redis_memory_usage_bytes")
    assert used is not None
    assert used > 100_000
    away = redis_client("redis://127.0.0.1:1/0")
    await RedisMemoryGauge(away).measure()
    unknown = REGISTRY.get_sample_value("redis_memory_usage_bytes")
    assert unknown is not None
    assert math.isnan(unknown)
    await away.aclose()
