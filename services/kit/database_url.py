"""Database URLs taken apart without SQLAlchemy, so that a start-up check can stay fast."""

from dataclasses import dataclass
from pathlib import Path

_SQLITE = "sqlite+aiosqlite:///"
_POSTGRES = "postgresql+asyncpg://"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """One of the two kinds of URL that Candela takes.

    `sqlite+aiosqlite:///relative.db`, `sqlite+aiosqlite:////absolute.db` or
    `postgresql+asyncpg://user:password@host/name`. ValueError for anything else, in-memory SQLite included: its
    connections could not see each other.
    """

    text: str

    def __post_init__(self) -> None:
        if self.text.startswith(_SQLITE):
            name = self.text.removeprefix(_SQLITE)
            if not name or name.startswith((":memory:", "file:")) or "?" in name:
                raise ValueError("a SQLite URL names a plain file: sqlite+aiosqlite:///path/to/file.db")
        elif not self.text.startswith(_POSTGRES):
            scheme = self.text.partition("://")[0]
            raise ValueError(f"unknown database {scheme!r}: use sqlite+aiosqlite or postgresql+asyncpg")

    @property
    def is_sqlite(self) -> bool:
        return self.text.startswith(_SQLITE)

    @property
    def path(self) -> Path:
        """Return the file of a SQLite database; ValueError for a server."""
        if not self.is_sqlite:
            raise ValueError("a database server has no file")
        return Path(self.text.removeprefix(_SQLITE))

    @property
    def dsn(self) -> str:
        """Return the URL as asyncpg itself reads it; ValueError for a file."""
        if self.is_sqlite:
            raise ValueError("a database file has no DSN")
        return "postgresql://" + self.text.removeprefix(_POSTGRES)
