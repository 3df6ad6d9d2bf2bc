"""The settings that admins change while the system runs: what there is, of which kinds, within which bounds.

Adding one means a line here and `live.get(IT, tenant)` where it counts. Settings that only count at the start of a
process are environment variables and not among these.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from services.kit.errors import FieldViolation, InvalidArgument

Value = str | int | float | bool | timedelta
T = TypeVar("T", str, int, float, bool, timedelta)

_MIB = 1024 * 1024
_MICROSECOND = timedelta(microseconds=1)


class Kind(Enum):
    """What a value is; the names are those of the contract's `value`."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TOGGLE = "toggle"
    DURATION = "duration"

    def encode(self, value: Value) -> str:
        """Return a value as it is stored."""
        if isinstance(value, timedelta):
            return str(value // _MICROSECOND)
        return str(value).lower() if isinstance(value, bool) else str(value)

    def decode(self, stored: str) -> Value:
        """Return a stored value; ValueError for what is none."""
        match self:
            case Kind.TEXT:
                return stored
            case Kind.INTEGER:
                return int(stored)
            case Kind.NUMBER:
                return float(stored)
            case Kind.TOGGLE:
                return {"true": True, "false": False}[stored]
            case Kind.DURATION:
                return int(stored) * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One setting. `least` and `most` bound it, both included; a text's length in characters."""

    id: str
    kind: Kind
    default: T
    description: str
    least: T | int | None = None
    most: T | int | None = None

    def check(self, value: Value) -> None:
        """Refuse with InvalidArgument a value out of bounds."""
        size = len(value) if isinstance(value, str) else value
        if isinstance(size, float) and not math.isfinite(size):
            raise wrong_value(f"{self.id} must be a finite number", "finite")
        if self.least is not None and size < self.least:  # type: ignore[operator]  # bounds are of the value's kind
            raise wrong_value(f"{self.id} must be {self._least()} or more", "gte")
        if self.most is not None and size > self.most:  # type: ignore[operator]  # bounds are of the value's kind
            raise wrong_value(f"{self.id} must be {self.most}{self._unit()} or less", "lte")

    def _least(self) -> str:
        return f"{self.least}{self._unit()}"

    def _unit(self) -> str:
        return " characters" if self.kind is Kind.TEXT else ""


def wrong_value(message: str, rule: str) -> InvalidArgument:
    """Return the error for a value that a setting cannot have."""
    return InvalidArgument(message, violations=[FieldViolation("system_config.value", message, rule=rule)])


SIGN_UP_OPEN: Final = Setting(
    "sign-up-open", Kind.TOGGLE, True, "Whether people may register. Accounts that exist are not touched."
)
SESSION_LIFE: Final = Setting(
    "session-life",
    Kind.DURATION,
    timedelta(days=30),
    "How long a session lives after its last refresh: one hour to 365 days. Counts for log-ins and refreshes from then "
    "on. CANDELA_USER_REFRESH_DAYS is its default.",
    least=timedelta(hours=1),
    most=timedelta(days=365),
)
FILE_SPACE: Final = Setting(
    "file-space-bytes",
    Kind.INTEGER,
    10 * 1024 * _MIB,
    "How many bytes the files and uploads of one user may take together: 1 MiB to 1 PiB. Files that are there stay. "
    "CANDELA_USER_FILE_SPACE_BYTES is its default.",
    least=_MIB,
    most=2**50,
)
DOCUMENT_PAGES: Final = Setting(
    "document-pages",
    Kind.INTEGER,
    50,
    "How many pages of a document one call reads at most: 1 to 50; 10 with characters whatever stands here.",
    least=1,
    most=50,
)
RECOGNITION_CLOSED: Final = Setting(
    "recognition-closed",
    Kind.TEXT,
    "",
    "What people are told instead of having anything recognised, up to 500 characters; empty for normal service.",
    most=500,
)

CATALOGUE: Final[Mapping[str, Setting[Any]]] = {
    one.id: one for one in (SIGN_UP_OPEN, SESSION_LIFE, FILE_SPACE, DOCUMENT_PAGES, RECOGNITION_CLOSED)
}


class Live(Protocol):
    """What the settings are now."""

    def get(self, setting: Setting[T], tenant: str) -> T:
        """Return a setting's value for a tenant."""


class LiveValues:
    """This process's copy of the settings; without a follower every one of them has its default."""

    def __init__(self, defaults: Mapping[str, Value] | None = None) -> None:
        """Begin with the defaults of the catalogue, some replaced by what the process was started with (by id)."""
        self._defaults = dict(defaults or {})
        self._values: Mapping[tuple[str, str], Value] = {}

    def get(self, setting: Setting[T], tenant: str) -> T:
        value = self._values.get((tenant, setting.id))
        return cast("T", self.default(setting) if value is None else value)

    def default(self, setting: Setting[T]) -> T:
        """Return what a setting is until an admin changes it."""
        return cast("T", self._defaults.get(setting.id, setting.default))

    def take(self, values: Mapping[tuple[str, str], Value]) -> None:
        """Take what every tenant has set, by tenant and id; everything else has its default."""
        self._values = dict(values)
