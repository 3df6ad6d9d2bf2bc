"""Telling the other services who was erased."""

from datetime import datetime

from services.kit.paging import Page, PageRequest
from services.kit.uow import Units
from services.user.domain.erasures import Erasure
from services.user.ports import UserTx


class Erasures:
    """The list that services follow."""

    def __init__(self, units: Units[UserTx]) -> None:
        self._units = units

    async def after(self, time: datetime | None, page: PageRequest) -> Page[Erasure]:
        """Return a page of the erasures later than `time` (None: all), the newest first."""
        async with self._units.read() as tx:
            return await tx.erasures.after(time, page)
