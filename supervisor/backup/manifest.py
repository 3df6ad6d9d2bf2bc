"""What an archive says about itself: its members with their hashes, when it was taken, what it does not hold.

An archive is a plain tar, not compressed, so that it can never grow while it is read. The manifest is its last member:
an archive without one was cut short.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

MANIFEST = "manifest.json"
FORMAT = 1
MANIFEST_BYTES = 64 * 1024 * 1024
ROOMS = ("db", "keys", "objects", "redis")

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
# No part begins with a dot, so no name climbs out of its room or hides in it.
_NAME = re.compile(
    rf"db/[a-z0-9][a-z0-9_-]{{0,63}}\.(sqlite3|pgdump)|keys/{_PART}|redis/{_PART}(/{_PART})?|objects(/{_PART}){{1,9}}"
)
_HASH = re.compile(r"[0-9a-f]{64}")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_REVISION = re.compile(r"\d{4}")


class ArchiveError(Exception):
    """An archive cannot be used; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    name: str
    size: int
    """In bytes."""
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds."""

    taken_at: datetime
    """The moment that all databases in it show: what was committed before is in it, what came later is not."""
    version: str
    """Candela's version that took it."""
    schemas: Mapping[str, str]
    """The number of each database's newest migration, by service."""
    settings: Mapping[str, str]
    """The CANDELA_… variables of the one who took it, for people. What may be secret is not in it."""
    not_covered: tuple[str, ...]
    """What belongs to the mesh and is not in the archive, in words."""
    members: tuple[Member, ...]

    def to_json(self) -> bytes:
        """Return the manifest as the archive's last member has it."""
        raw = {**asdict(self), "format": FORMAT, "taken_at": self.taken_at.isoformat()}
        return json.dumps(raw, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read a manifest. Raises ArchiveError for one of another format and for anything that is not as it must be."""
        try:
            value = json.loads(raw)
            if value["format"] != FORMAT:
                raise ArchiveError(f"the archive has format {value['format']!r}, this Candela reads {FORMAT}")
            return cls._checked(value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArchiveError(f"the archive's manifest is damaged: {type(error).__name__} {error}") from error

    @classmethod
    def _checked(cls, value: dict[str, Any]) -> Self:
        taken_at = datetime.fromisoformat(value["taken_at"])
        if taken_at.tzinfo is None:
            raise ValueError("taken_at has no time zone")
        schemas = {_matched(_SERVICE, name): _matched(_REVISION, number) for name, number in value["schemas"].items()}
        members = tuple(_member(one) for one in value["members"])
        if len({member.name for member in members}) != len(members):
            raise ValueError("a member is listed twice")
        return cls(
            taken_at=taken_at.astimezone(UTC),
            version=str(value["version"]),
            schemas=schemas,
            settings={str(name): str(text) for name, text in value["settings"].items()},
            not_covered=tuple(str(line) for line in value["not_covered"]),
            members=members,
        )


def _member(raw: dict[str, Any]) -> Member:
    size = raw["size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"{size!r} is no size")
    return Member(member_name(raw["name"]), size, _matched(_HASH, raw["sha256"]))


def member_name(text: str) -> str:
    """Return a member's name; ValueError for one that an archive may not have."""
    return _matched(_NAME, text)


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is not allowed here")
    return text
