"""What API keys need from outside: where they are kept, and how secrets are made."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from services.kit.paging import Page, PageRequest
from services.user.domain.api_keys import ApiKey, KeyEnd, KeyUse


class ApiKeys(Protocol):
    """API keys and the digests that they are found by."""

    async def add(self, key: ApiKey, digest: bytes) -> None:
        """Store a new key."""

    async def get(self, tenant: str, key: str, *, lock: bool = False) -> ApiKey | None:
        """Return a key whether it can be used or not, None when there is none."""

    async def found(self, digest: bytes) -> ApiKey | None:
        """Return the key of a digest whether it can be used or not, None when there is none."""

    async def update(self, key: ApiKey) -> None:
        """Store a key that was read with `lock`; when it was used last is left alone."""

    async def living(self, tenant: str, user: str, page: PageRequest) -> Page[ApiKey]:
        """Return a page of a user's keys that were not ended, the newest first."""

    async def count_living(self, tenant: str, user: str) -> int:
        """Return how many keys of a user were not ended."""

    async def end_all(self, tenant: str, user: str, reason: KeyEnd, now: datetime) -> list[str]:
        """Mark all living keys of a user as ended and return their ids."""

    async def used(self, uses: Sequence[KeyUse]) -> None:
        """Remember when keys were used; an earlier time than the known one, or a key that is gone, changes nothing."""

    async def sweep(self, before: datetime) -> int:
        """Remove keys that were ended before a time; return how many."""


@dataclass(frozen=True, slots=True)
class KeySecret:
    """A new API key in full, what is kept of it, and the part that its owner tells it by."""

    text: str = field(repr=False)
    digest: bytes
    prefix: str


class KeySecrets(Protocol):
    """Makes API keys."""

    def new(self) -> KeySecret:
        """Return a key of 256 fresh random bits."""
