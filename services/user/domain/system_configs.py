"""Versions of a setting: who made which, and what guards a change."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from services.kit.errors import Aborted, NotFound

ConfigValue = str | int | float | bool | timedelta


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """A setting's value from some time on. Version 1 is the default, which nobody made."""

    tenant: str
    config: str
    value: ConfigValue
    version: int = 1
    subject: str = ""  # of the audit log: erasing a person makes their changes anonymous
    time: datetime | None = None

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return f"r{self.version}"

    def guard(self, etag: str) -> None:
        """Refuse with Aborted (ETAG_MISMATCH) a change that was made from another version; empty for any."""
        if etag and etag != self.etag:
            text = "the setting was changed since it was read"
            raise Aborted(text, reason="ETAG_MISMATCH", metadata={"etag": self.etag})

    def next(self, value: ConfigValue, subject: str, now: datetime) -> "ConfigVersion":
        """Return the version that follows this one."""
        return ConfigVersion(self.tenant, self.config, value, self.version + 1, subject, now)


def no_such_config() -> NotFound:
    """Return the answer for a setting that does not exist."""
    return NotFound("there is no such setting", metadata={"resource": "systemConfig"})
