"""Database URLs taken apart without SQLAlchemy, so that a start-up check can stay fast."""

import ssl
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_SQLITE = "sqlite+aiosqlite:///"
_POSTGRES = "postgresql+asyncpg://"
_MARIADB = "mysql+aiomysql://"
_MARIADB_OPTIONS = {"unix_socket", "ssl_ca"}
_MARIADB_PORT = 3306


class DatabaseKind(Enum):
    """Which database a URL leads to."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"
    MARIADB = "mariadb"


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """One of the three kinds of URL that Candela takes.

    `sqlite+aiosqlite:///relative.db`, `sqlite+aiosqlite:////absolute.db`,
    `postgresql+asyncpg://user:password@host/name` or `mysql+aiomysql://user:password@host/name` (MariaDB and MySQL;
    `?unix_socket=/path` for a local server, `?ssl_ca=/path` for TLS). ValueError for anything else, in-memory SQLite
    included: its connections could not see each other.
    """

    text: str

    def __post_init__(self) -> None:
        if self.text.startswith(_SQLITE):
            name = self.text.removeprefix(_SQLITE)
            if not name or name.startswith((":memory:", "file:")) or "?" in name:
                raise ValueError("a SQLite URL names a plain file: sqlite+aiosqlite:///path/to/file.db")
        elif self.text.startswith(_MARIADB):
            self._check_mariadb()
        elif not self.text.startswith(_POSTGRES):
            scheme = self.text.partition("://")[0]
            raise ValueError(f"unknown database {scheme!r}: use sqlite+aiosqlite, postgresql+asyncpg or mysql+aiomysql")

    @property
    def kind(self) -> DatabaseKind:
        if self.text.startswith(_SQLITE):
            return DatabaseKind.SQLITE
        return DatabaseKind.MARIADB if self.text.startswith(_MARIADB) else DatabaseKind.POSTGRESQL

    @property
    def is_sqlite(self) -> bool:
        return self.kind is DatabaseKind.SQLITE

    @property
    def path(self) -> Path:
        """Return the file of a SQLite database; ValueError for a server."""
        if not self.is_sqlite:
            raise ValueError("a database server has no file")
        return Path(self.text.removeprefix(_SQLITE))

    @property
    def dsn(self) -> str:
        """Return the URL as asyncpg itself reads it; ValueError for another database."""
        if self.kind is not DatabaseKind.POSTGRESQL:
            raise ValueError("only a PostgreSQL database has a DSN")
        return "postgresql://" + self.text.removeprefix(_POSTGRES)

    @property
    def mariadb_arguments(self) -> dict[str, Any]:
        """Return what pymysql's `connect` takes; ValueError for another database."""
        if self.kind is not DatabaseKind.MARIADB:
            raise ValueError("only a MariaDB database has such arguments")
        parts = urlsplit(self.text)
        arguments: dict[str, Any] = {
            "host": parts.hostname or "localhost",
            "port": parts.port or _MARIADB_PORT,
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "database": unquote(parts.path.removeprefix("/")),
            "charset": "utf8mb4",
        }
        options = _options(parts)
        if "unix_socket" in options:
            arguments["unix_socket"] = options["unix_socket"]
        if "ssl_ca" in options:
            arguments["ssl"] = ssl.create_default_context(cafile=options["ssl_ca"])
        return arguments

    def _check_mariadb(self) -> None:
        parts = urlsplit(self.text)
        unknown = set(_options(parts)) - _MARIADB_OPTIONS
        if unknown or len(parts.path) < 2:
            raise ValueError(
                "a MariaDB URL names a database and at most unix_socket or ssl_ca: "
                "mysql+aiomysql://user:password@host/name"
            )


def _options(parts: SplitResult) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(parts.query).items()}
