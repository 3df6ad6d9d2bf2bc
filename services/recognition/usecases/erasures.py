"""What of a user is deleted here when the account is erased."""

from datetime import datetime

from services.kit.uow import Units
from services.recognition.ports import RecognitionTx


class UserErasures:
    """The erasure store of this service: history and kept answers."""

    def __init__(self, units: Units[RecognitionTx]) -> None:
        self._units = units

    async def followed_until(self) -> datetime | None:
        """Return how far the list was followed; None before the first time."""
        async with self._units.read() as tx:
            return await tx.erasure_progress.get()

    async def erase(self, tenant: str, user: str) -> int:
        """Delete the user's recognitions and the answers kept for repeats; return how many there were."""
        deleted = 0
        for units in self._units.everywhere():  # also where a move that broke off left something
            async with units.write() as tx:
                deleted += await tx.history.erase(tenant, user) + await tx.forget_replies(tenant, user)
        return deleted

    async def follow_until(self, time: datetime) -> None:
        """Remember how far the list was followed."""
        async with self._units.write() as tx:
            await tx.erasure_progress.set(time)
