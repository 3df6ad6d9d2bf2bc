"""Every list RPC of the services that run, and how a database is filled for it.

Rows go into the tables directly: what is tested is what a list makes of them. Three rows share each microsecond, so
that equal sort keys are the usual case. A list RPC that is implemented and has no case here fails the suite.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, LargeBinary, SmallInteger, Table
from sqlalchemy.types import TypeDecorator

from services.recognition.storage import RecognitionRow
from services.user.storage import tables

TENANT, ADA = "default", "ada"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
CONFIG = "sign-up-open"
Row = dict[str, Any]


@dataclass(frozen=True)
class ListCase:
    """One list: where its rows are, what makes the n-th of them, and what an item of the reply is called."""

    table: Table
    sets: Callable[[int], Row]
    item: Callable[[Message], str] = lambda item: str(item.name).rpartition("/")[2]  # type: ignore[attr-defined]
    key: str = "id"
    request: Mapping[str, str] = field(default_factory=dict)
    rows_come: bool = True
    rows_go: bool = True
    only_younger: bool = False
    """Which changes there are in life: a chain is written by the service alone, versions only grow."""

    def row(self, number: int) -> Row:
        """Return the n-th row; larger numbers are younger."""
        return {column.name: _value(column.type) for column in self.table.columns if not column.nullable} | self.sets(
            number
        )

    def id_of(self, number: int) -> str:
        """Return what the list calls the n-th row."""
        return str(self.sets(number)[self.key])


def moment(number: int) -> datetime:
    """Return the time of the n-th row, the same for three in a row."""
    return START + timedelta(microseconds=number // 3)


def row_id(number: int) -> str:
    """Return an id whose order has nothing to do with the numbers."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:26]


def _value(kind: Any) -> object:
    inner = kind.impl if isinstance(kind, TypeDecorator) else kind
    if isinstance(inner, Boolean):
        return False
    if isinstance(inner, Integer | BigInteger | SmallInteger):
        return 1
    if isinstance(inner, DateTime):
        return START
    return b"" if isinstance(inner, LargeBinary) else ""


def _digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def _own(number: int) -> Row:
    return {"tenant": TENANT, "user_id": ADA, "id": row_id(number), "created_at": moment(number)}


def _user(number: int) -> Row:
    person = {"tenant": TENANT, "id": row_id(number), "created_at": moment(number), "email": f"u{number}@example.com"}
    return {**person, "role": "FREE", "plan": "free", "state": "ACTIVE"}


def _session(number: int) -> Row:
    return {**_own(number), "expires_at": START + timedelta(days=3)}


def _announcement(number: int) -> Row:
    row = {"tenant": TENANT, "id": row_id(number), "created_at": moment(number), "title": "News"}
    return {**row, "severity": 1 + number % 3}


def _recognition(number: int) -> Row:
    row = {"tenant": TENANT, "user_id": ADA, "id": row_id(number), "create_time": moment(number), "models": ["m@1"]}
    return {**row, "kind": "document", "confidence": 0.5, "content_type": "image/png"}


def _entry(number: int) -> Row:
    entry = {"tenant": TENANT, "seq": number + 1, "time": moment(number), "action": "session.created", "format": 2}
    return {**entry, "outcome": "ALLOWED", "details": "{}", "previous": b"p" * 32, "seal": b"s" * 32}


def _version(number: int) -> Row:  # the first version is the default and has no row
    return {"tenant": TENANT, "config": CONFIG, "version": number + 2, "value": "true", "changed_at": moment(number)}


USER, RECOGNITION = "candela.user.v1", "candela.recognition.v1"
CASES: dict[str, ListCase] = {
    f"{USER}.SessionService.ListSessions": ListCase(tables.SESSIONS, _session),
    f"{USER}.ApiKeyService.ListApiKeys": ListCase(
        tables.API_KEYS, lambda n: {**_own(n), "digest": _digest(n), "scopes": "CHAT"}
    ),
    f"{USER}.FileService.ListFiles": ListCase(tables.FILES, _own),
    f"{USER}.AnnouncementService.ListAnnouncements": ListCase(tables.ANNOUNCEMENTS, _announcement),
    f"{USER}.AnnouncementService.ListAllAnnouncements": ListCase(tables.ANNOUNCEMENTS, _announcement),
    f"{USER}.UserAdminService.ListUsers": ListCase(tables.USERS, _user),
    f"{USER}.AuditService.ListAuditEvents": ListCase(
        tables.AUDIT_ENTRIES, _entry, key="seq", rows_come=False, rows_go=False
    ),
    f"{USER}.SystemConfigService.ListSystemConfigVersions": ListCase(
        tables.SYSTEM_CONFIG_VERSIONS,
        _version,
        item=lambda item: str(item.version),  # type: ignore[attr-defined]
        key="version",
        request={"name": f"systemConfigs/{CONFIG}"},
        rows_go=False,
        only_younger=True,
    ),
    # As many items as the catalogue has, whether they were changed or not.
    f"{USER}.SystemConfigService.ListSystemConfigs": ListCase(
        tables.SYSTEM_CONFIG_VERSIONS, _version, key="version", rows_come=False, rows_go=False
    ),
    "candela.erasure.v1.ErasureService.ListErasures": ListCase(
        tables.ERASURES,
        lambda n: {"tenant": TENANT, "user_id": row_id(n), "erased_at": moment(n)},
        item=lambda item: str(item.user),  # type: ignore[attr-defined]
        key="user_id",
    ),
    f"{RECOGNITION}.RecognitionService.ListRecognitions": ListCase(
        RecognitionRow.metadata.tables[RecognitionRow.__tablename__], _recognition
    ),
}
