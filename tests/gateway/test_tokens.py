"""Which tokens pass the edge, and what the services see of them."""

import time
from collections.abc import Callable

import pytest

from tests.gateway.gateway import Gateway
from tests.gateway.http import Answer, call, send_raw
from tests.gateway.tokens import Issuer, claims, unsigned, with_secret

PROTECTED = "/v1/probes/a"


def get(gateway: Gateway, authorization: str) -> Answer:
    return call(gateway.port, "GET", PROTECTED, headers={"authorization": authorization})


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_valid_token_travels_untouched(gateway: Gateway, scheme: str) -> None:
    authorization = f"{scheme} {gateway.issuer.token()}"
    assert get(gateway, authorization).status == 200
    assert gateway.probe.last.metadata["authorization"] == authorization


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda issuer: issuer.token(exp=int(time.time()) - 60), "TOKEN_EXPIRED"),
        (lambda issuer: issuer.token(nbf=int(time.time()) + 600), "TOKEN_INVALID"),
        (lambda issuer: issuer.token(iss="candela-mesh", aud="recognition"), "TOKEN_INVALID"),
        (lambda issuer: issuer.token(iss="somebody"), "TOKEN_INVALID"),
        (lambda issuer: issuer.token(aud="other"), "TOKEN_INVALID"),
        (lambda issuer: issuer.token(aud=None), "TOKEN_INVALID"),
        (lambda issuer: Issuer().token(), "TOKEN_INVALID"),
        (lambda issuer: unsigned(), "TOKEN_INVALID"),
        (lambda issuer: with_secret(b"secret"), "TOKEN_INVALID"),
        (lambda issuer: with_secret(issuer.public_bytes()), "TOKEN_INVALID"),
        (lambda issuer: issuer.token()[:-4] + "AAAA", "TOKEN_INVALID"),
        (lambda issuer: issuer.token().rpartition(".")[0] + ".", "TOKEN_INVALID"),
        (lambda issuer: "nonsense", "TOKEN_INVALID"),
        (lambda issuer: "a.b.c", "TOKEN_INVALID"),
        (lambda issuer: "...", "TOKEN_INVALID"),
        (lambda issuer: issuer.token() + "." + issuer.token(), "TOKEN_INVALID"),
        (lambda issuer: "sk_live_1", "TOKEN_INVALID"),
    ],
)
def test_token_that_does_not_hold(gateway: Gateway, make: Callable[[Issuer], str], reason: str) -> None:
    answer = get(gateway, f"Bearer {make(gateway.issuer)}")
    assert (answer.status, answer.info["reason"]) == (401, reason)
    assert answer.headers["www-authenticate"] == 'Bearer realm="candela", error="invalid_token"'
    assert gateway.probe.seen == []


@pytest.mark.parametrize("authorization", ["", "Basic dXNlcjpwYXNz", "Bearer", "Token abc", "ck_bare_key"])
def test_no_token(gateway: Gateway, authorization: str) -> None:
    answer = get(gateway, authorization)
    assert (answer.status, answer.info["reason"]) == (401, "TOKEN_MISSING")
    assert gateway.probe.seen == []


def test_token_in_the_query_does_not_count(gateway: Gateway) -> None:
    answer = call(gateway.port, "GET", f"{PROTECTED}?access_token={gateway.issuer.token()}")
    assert (answer.status, answer.info["reason"]) == (401, "TOKEN_MISSING")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_api_key_passes(gateway: Gateway, scheme: str) -> None:
    assert get(gateway, f"{scheme} ck_test_0123456789").status == 200
    assert gateway.probe.last.metadata["authorization"] == f"{scheme} ck_test_0123456789"


@pytest.mark.parametrize("token", ["nonsense", "expired"])
def test_public_methods_ignore_a_bad_token(gateway: Gateway, token: str) -> None:
    value = gateway.issuer.token(exp=1) if token == "expired" else token
    answer = call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}, {"authorization": f"Bearer {value}"})
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/.well-known/jwks.json"])
def test_public_documents_need_no_token(gateway: Gateway, path: str) -> None:
    assert call(gateway.port, "GET", path).status == 200


def test_registration_and_log_in_need_none_and_profiles_do(gateway: Gateway) -> None:
    assert call(gateway.port, "POST", "/v1/users", {"email": "a@example.org"}).status == 200
    assert call(gateway.port, "POST", "/v1/sessions", {"identifier": "a"}).status == 200
    assert call(gateway.port, "POST", "/v1/sessions:refresh", {"refreshToken": "a"}).status == 200
    assert call(gateway.port, "GET", "/v1/users/me").status == 401
    assert call(gateway.port, "POST", "/v1/documents:recognize", {}).status == 401
    assert [seen.method.rpartition(".")[2] for seen in gateway.user.seen] == [
        "RegisterUser",
        "CreateSession",
        "RefreshSession",
    ]


def test_two_authorization_headers(gateway: Gateway) -> None:
    """The services see what was checked, or nothing."""
    head = f"GET {PROTECTED} HTTP/1.1\r\nhost: a\r\n"
    good, bad = f"authorization: Bearer {gateway.issuer.token()}\r\n", "authorization: Bearer ck_other\r\n"
    for first, second in ((good, bad), (bad, good)):
        answer = send_raw(gateway.port, f"{head}{first}{second}\r\n".encode())
        assert answer.status in (400, 401) or "," in gateway.probe.last.metadata["authorization"]


def test_claims_of_the_tests_are_those_of_the_contract() -> None:
    assert set(claims()) == {"iss", "aud", "sub", "tenant", "sid", "role", "iat", "exp", "jti"}
