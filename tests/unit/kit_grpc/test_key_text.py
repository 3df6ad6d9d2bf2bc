"""The text of API keys: what was mistyped is told without asking anybody."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.key_text import LENGTH, SHOWN_CHARACTERS, digest_of, key_text, well_formed

secrets = st.binary(min_size=32, max_size=32)
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@given(secrets)
def test_a_key_is_well_formed_and_needs_no_escaping(secret: bytes) -> None:
    key = key_text(secret)
    assert re.fullmatch(r"ck_[0-9A-Za-z]{49}", key)
    assert len(key) == LENGTH
    assert well_formed(key)


@given(secrets, secrets)
def test_two_secrets_are_two_keys(one: bytes, other: bytes) -> None:
    assert (key_text(one) == key_text(other)) == (one == other)
    assert (digest_of(key_text(one)) == digest_of(key_text(other))) == (one == other)


@given(secrets, st.integers(3, LENGTH - 1), st.sampled_from(DIGITS))
def test_one_wrong_character_is_found(secret: bytes, place: int, digit: str) -> None:
    key = key_text(secret)
    wrong = key[:place] + digit + key[place + 1 :]
    assert well_formed(wrong) == (wrong == key)


@given(secrets, st.integers(3, LENGTH - 2))
def test_two_characters_that_changed_places_are_found(secret: bytes, place: int) -> None:
    key = key_text(secret)
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert well_formed(swapped) == (swapped == key)


@given(st.text(max_size=80))
def test_any_other_text_is_none(text: str) -> None:
    assert not well_formed(text)
    assert not well_formed("ck_" + text) or len(text) == LENGTH - 3


@pytest.mark.parametrize("wrong", ["", "ck_", "x" * LENGTH, "ck_" + "ü" * 49, key_text(bytes(32)) + "0"])
def test_forms_that_are_wrong(wrong: str) -> None:
    assert not well_formed(wrong)


def test_the_first_characters_tell_keys_apart_and_give_little_away() -> None:
    assert key_text(b"\xff" * 32)[:SHOWN_CHARACTERS] != key_text(b"\x7f" * 32)[:SHOWN_CHARACTERS]
    assert SHOWN_CHARACTERS == 7


def test_a_key_holds_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        key_text(bytes(31))
