"""Opaque ids: 26 characters, sortable by the millisecond they were made in, never guessable."""

import secrets
from typing import Protocol

from services.kit.clock import Clock

# Crockford's base 32 in lower case: no i, l, o, u, so that an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
LENGTH = 26


class Ids(Protocol):
    """Where new ids come from; a port, so that tests can foresee them."""

    def new(self) -> str:
        """Return an id that was never returned before."""


class RandomIds:
    """ULIDs: 48 bits of milliseconds since 1970, then 80 random bits. Ids of one millisecond are in no order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self) -> str:
        milliseconds = int(self._clock.now().timestamp() * 1000)
        value = milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        return "".join(_ALPHABET[value >> shift & 31] for shift in range(5 * (LENGTH - 1), -1, -5))
