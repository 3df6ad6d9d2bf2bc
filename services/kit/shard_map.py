"""Which shard a user belongs to, by settings alone; needs no SQLAlchemy. See sharding.py."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.kit.database_url import DatabaseUrl

SLOTS = 4096


@dataclass(frozen=True, slots=True)
class User:
    """Whose rows lie together."""

    tenant: str
    id: str


def slot_of(user: User) -> int:
    """Return the slot of a user, 0 to 4095. It never changes, on no machine."""
    digest = hashlib.sha256(f"{user.tenant}\0{user.id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % SLOTS


@dataclass(frozen=True, slots=True)
class ShardMap:
    """Which shards there are, by name, and whose each slot is."""

    urls: Mapping[str, str]
    slots: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> "ShardMap":
        """Read the setting: `name slots url` separated by `;`, slots as `0-9,12` or `-`; ValueError if wrong."""
        urls: dict[str, str] = {}
        slots: list[str] = [""] * SLOTS
        for entry in filter(None, (part.strip() for part in text.split(";"))):
            parts = entry.split()
            if len(parts) != 3 or parts[0] in urls:
                raise ValueError("each shard is `name slots url` with a name of its own, separated by `;`")
            name, wanted, urls[parts[0]] = parts
            DatabaseUrl(parts[2])
            for slot in _slots(wanted):
                if slots[slot]:
                    raise ValueError(f"slot {slot} belongs to two shards")
                slots[slot] = name
        if "" in slots:
            raise ValueError(f"slot {slots.index('')} belongs to no shard; there are {SLOTS}")
        return cls(urls, slots)

    def default_of(self, user: User) -> str:
        """Return the shard of a user who was never moved."""
        return self.slots[slot_of(user)]


def _slots(text: str) -> Sequence[int]:
    if text == "-":
        return ()
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise ValueError(f"{part!r} names no slots: write 0-2047, 7 or -")
        if int(last or first) >= SLOTS:
            raise ValueError(f"slots run from 0 to {SLOTS - 1}")
        found += range(int(first), int(last or first) + 1)
    return found
