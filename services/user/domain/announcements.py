"""What admins tell everybody: the rules of announcements."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum

from services.kit.errors import Aborted, FieldViolation, InvalidArgument, NotFound
from services.user.domain.masks import check_mask

CHANGEABLE = ("title", "body", "severity", "start_time", "end_time")
_OUTPUT_ONLY = frozenset({"name", "version", "create_time", "update_time", "etag"})


class Severity(IntEnum):
    """How much it matters; a larger one is shown first."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Announcement:
    """One announcement; `start_time` None is shown at once, `end_time` None for ever."""

    tenant: str
    id: str
    title: str
    body: str
    severity: Severity
    create_time: datetime
    update_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    version: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return f"r{self.version}"


@dataclass(frozen=True, slots=True)
class AnnouncementDraft:
    """What an announcement shall say."""

    title: str
    body: str = ""
    severity: Severity = Severity.INFO
    start_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class AnnouncementChange:
    """New words, the names of those that count, and the etag that they were made from (empty: any)."""

    draft: AnnouncementDraft
    paths: tuple[str, ...]
    etag: str = ""


def check_span(start: datetime | None, end: datetime | None, field: str) -> None:
    """Refuse with InvalidArgument an announcement that would end before it begins."""
    if start is not None and end is not None and end <= start:
        message = f"{field} must be after start_time"
        raise InvalidArgument(message, violations=[FieldViolation(field, message, rule="timestamp.gt_start")])


def check_paths(paths: Collection[str]) -> None:
    """Refuse with InvalidArgument a mask that is empty or names what cannot be changed."""
    check_mask(paths, "an announcement", changeable=CHANGEABLE, output_only=_OUTPUT_ONLY)


def changed(before: Announcement, change: AnnouncementChange, now: datetime) -> tuple[Announcement, tuple[str, ...]]:
    """Return the announcement after a change and the names of the fields that really differ.

    Raises Aborted (ETAG_MISMATCH) for an old etag and InvalidArgument for a mask or words that cannot be. A change that
    changes nothing returns the announcement as it was.
    """
    check_paths(change.paths)
    if change.etag and change.etag != before.etag:
        text = "the announcement was changed since it was read"
        raise Aborted(text, reason="ETAG_MISMATCH", metadata={"etag": before.etag})
    if "title" in change.paths and not change.draft.title:
        text = "announcement.title must not be empty"
        raise InvalidArgument(text, violations=[FieldViolation("announcement.title", text, rule="required")])
    values = {path: getattr(change.draft, path) for path in CHANGEABLE if path in change.paths}
    after = replace(before, **values, version=before.version + 1, update_time=now)
    check_span(after.start_time, after.end_time, "announcement.end_time")
    differing = tuple(path for path in CHANGEABLE if getattr(after, path) != getattr(before, path))
    return (after, differing) if differing else (before, ())


def no_such_announcement() -> NotFound:
    """Return the one answer for an announcement that is not there and for one of another tenant."""
    return NotFound("there is no such announcement", metadata={"resource": "announcement"})
