"""Where a client connects to, and when it encrypts."""

import pytest

from candela.endpoint import Endpoint, Tls, resolve


@pytest.mark.parametrize(
    ("address", "target", "encrypted"),
    [
        ("localhost:8080", "localhost:8080", False),
        ("127.0.0.1:9", "127.0.0.1:9", False),
        ("[::1]:8080", "[::1]:8080", False),
        ("candela.localhost:1", "candela.localhost:1", False),
        ("candela.example.org:443", "candela.example.org:443", True),
        ("10.0.0.7:8080", "10.0.0.7:8080", True),
        ("candela.example.org", "candela.example.org:443", True),
        ("localhost", "localhost:80", False),
        ("[::1]", "[::1]:80", False),
        ("http://candela.example.org", "candela.example.org:80", False),
        ("https://localhost:8443/", "localhost:8443", True),
        ("https://candela.example.org", "candela.example.org:443", True),
    ],
)
def test_an_address_says_whether_to_encrypt(address: str, target: str, encrypted: bool) -> None:
    assert resolve(address, None) == Endpoint(target, Tls() if encrypted else None)


def test_the_caller_decides_otherwise() -> None:
    own = Tls(root_certificates=b"PEM")
    assert resolve("localhost:1", own).tls is own
    assert resolve("localhost:1", True).tls == Tls()
    assert resolve("candela.example.org:1", False).tls is None


@pytest.mark.parametrize("address", ["ftp://x", "://x", "https://", "localhost:1/path", "https://x/y"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        resolve(address, None)


def test_the_environment_and_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_ENDPOINT", "localhost:9090")
    assert resolve(None, None).target == "localhost:9090"
    assert resolve("localhost:1", None).target == "localhost:1"
    monkeypatch.delenv("CANDELA_ENDPOINT")
    assert resolve(None, None) == Endpoint("localhost:8080", None)
