"""Sealed secrets open in their own place only, and survive a change of keys."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import DataLoss
from services.kit.secrets import Envelope, SecretPlace, derived_key

PLACE = SecretPlace("default", "api_configs", "api_key", "1")
ENVELOPE = Envelope([b"a" * 32])


@given(st.binary(max_size=200))
def test_what_is_sealed_opens_again(value: bytes) -> None:
    sealed = ENVELOPE.seal(value, PLACE)
    assert ENVELOPE.open(sealed, PLACE) == value
    assert len(sealed) == len(value) + 85
    assert sealed != ENVELOPE.seal(value, PLACE)


@pytest.mark.parametrize(
    "place",
    [
        SecretPlace("other", "api_configs", "api_key", "1"),
        SecretPlace("default", "users", "api_key", "1"),
        SecretPlace("default", "api_configs", "url", "1"),
        SecretPlace("default", "api_configs", "api_key", "2"),
        SecretPlace("default", "api_configsa", "pi_key", "1"),
    ],
)
def test_a_value_moved_elsewhere_does_not_open(place: SecretPlace) -> None:
    with pytest.raises(DataLoss):
        ENVELOPE.open(ENVELOPE.seal(b"secret", PLACE), place)


@given(st.integers(0, 90), st.integers(1, 255))
def test_a_damaged_value_does_not_open(place: int, change: int) -> None:
    sealed = bytearray(ENVELOPE.seal(b"secret", PLACE))
    sealed[place] ^= change
    with pytest.raises(DataLoss):
        ENVELOPE.open(bytes(sealed), PLACE)


@given(st.binary(max_size=120))
def test_garbage_does_not_open(garbage: bytes) -> None:
    with pytest.raises(DataLoss):
        ENVELOPE.open(garbage, PLACE)


@given(st.integers(0, 90))
def test_a_value_cut_short_does_not_open(length: int) -> None:
    with pytest.raises(DataLoss):
        ENVELOPE.open(ENVELOPE.seal(b"secret", PLACE)[:length], PLACE)


def test_keys_can_be_changed() -> None:
    old, new = os.urandom(32), os.urandom(32)
    sealed = Envelope([old]).seal(b"secret", PLACE)
    both = Envelope([new, old])
    assert not both.is_current(sealed)
    assert both.open(sealed, PLACE) == b"secret"
    renewed = both.rewrap(sealed, PLACE)
    assert both.is_current(renewed)
    assert Envelope([new]).open(renewed, PLACE) == b"secret"
    with pytest.raises(DataLoss):
        Envelope([new]).open(sealed, PLACE)


def test_keys_come_from_files(tmp_path: Path) -> None:
    key = tmp_path / "envelope.key"
    key.write_bytes(b"a" * 32)
    assert Envelope.from_files(key).open(ENVELOPE.seal(b"secret", PLACE), PLACE) == b"secret"


@pytest.mark.parametrize("keys", [[], [b"short"], [b"a" * 32, b"b" * 31]])
def test_keys_of_another_length_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Envelope(keys)


def test_derived_keys_differ_by_purpose() -> None:
    assert derived_key(b"a" * 32, "page tokens") != derived_key(b"a" * 32, "cookies")
    assert len(derived_key(b"a" * 32, "page tokens")) == 32
