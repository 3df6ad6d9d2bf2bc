"""What announcements and settings need from the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from services.kit.paging import Page, PageRequest
from services.user.domain.announcements import Announcement
from services.user.domain.system_configs import ConfigVersion


class Announcements(Protocol):
    """Announcements of all tenants."""

    async def add(self, announcement: Announcement) -> None:
        """Store a new announcement."""

    async def get(self, tenant: str, announcement: str, *, lock: bool = False) -> Announcement | None:
        """Return an announcement; with `lock` nobody else changes it in this transaction."""

    async def update(self, announcement: Announcement) -> None:
        """Store an announcement that was read with `lock`."""

    async def delete(self, tenant: str, announcement: str) -> None:
        """Remove an announcement."""

    async def all(self, tenant: str, page: PageRequest) -> Page[Announcement]:
        """Return a page of a tenant's announcements, the newest first."""

    async def shown(self, tenant: str, now: datetime, page: PageRequest) -> Page[Announcement]:
        """Return a page of those that are shown at `now`, the most severe first, then the newest."""


class SystemConfigs(Protocol):
    """What admins have set, in all its versions. A setting that was never changed has no row."""

    async def current(self, tenant: str) -> Sequence[ConfigVersion]:
        """Return the newest version of everything that a tenant has set."""

    async def everything(self) -> Sequence[ConfigVersion]:
        """Return the newest versions of all tenants."""

    async def get(self, tenant: str, config: str) -> ConfigVersion | None:
        """Return the newest version of a setting, None when it was never changed."""

    async def lock(self, default: ConfigVersion) -> ConfigVersion:
        """Return the newest version, `default` at first; nobody else changes the setting in this transaction."""

    async def add(self, version: ConfigVersion) -> None:
        """Store the next version of a setting that was locked."""

    async def versions(self, tenant: str, config: str, page: PageRequest) -> Page[ConfigVersion]:
        """Return a page of a setting's versions but the default, the newest first; the cursor's id is the number."""

    async def changes(self) -> int:
        """Return how many changes of all tenants there ever were."""


class LiveChanges(Protocol):
    """Tells every process that settings changed."""

    async def publish(self, changes: int) -> bool:
        """Spread the number of changes; False (and a log line) when that is not possible now. Harmless to repeat."""
