"""Following erasures: a service that keeps data of users deletes it once their accounts are gone.

    async with mesh.channel("user") as user:                                                     # main.py
        follower = ErasureFollower(ErasureServiceStub(user), store, mesh.clock)
        async with repeating("following erasures", 10.0, follower.follow): ...

`store` is the service's own: it deletes a user's rows and remembers how far the list was followed, so that nothing is
missed while either side is down. Erasures of the last minutes are gone through again every time: work that was under
way when the account was erased may have stored something after the first deletion.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Protocol

from candela.erasure.v1 import erasure_pb2, erasure_service_pb2
from services.kit.clock import Clock

# Longer than any call may take, and than clocks of two machines may differ.
OVERLAP = timedelta(minutes=20)
# Progress is written down this often: what lies between is gone through again, which costs less than the writes.
_REMEMBER_EVERY = timedelta(minutes=1)
_PAGE = 1000


_Request = erasure_service_pb2.ListErasuresRequest
_Response = erasure_service_pb2.ListErasuresResponse


class ErasureList(Protocol):
    """The one call of candela.erasure.v1.ErasureService; a channel of the kit makes its errors CandelaError."""

    @property
    def ListErasures(self) -> Callable[[_Request], Awaitable[_Response]]:
        """Return the call that returns a page of erasures."""


class ErasureStore(Protocol):
    """What a service deletes, and how far it has followed the list."""

    async def followed_until(self) -> datetime | None:
        """Return the time given to `follow_until` last; None before the first time."""

    async def erase(self, tenant: str, user: str) -> int:
        """Delete everything of one user and return how much there was; again is no error."""

    async def follow_until(self, time: datetime) -> None:
        """Remember that every erasure before `time` was done."""


class ErasureFollower:
    """Asks for new erasures and has the service's data of those users deleted."""

    def __init__(self, erasures: ErasureList, store: ErasureStore, clock: Clock) -> None:
        self._erasures = erasures
        self._store = store
        self._clock = clock

    async def follow(self) -> int:
        """Do what has come up since the last time; return how many rows or objects were deleted."""
        began = self._clock.now()
        until = await self._store.followed_until()
        deleted = 0
        async for erasure in self._since(None if until is None else until - OVERLAP):
            deleted += await self._store.erase(erasure.tenant, erasure.user)
        if until is None or began - until > _REMEMBER_EVERY:
            await self._store.follow_until(began)
        return deleted

    async def _since(self, time: datetime | None) -> AsyncIterator[erasure_pb2.Erasure]:
        request = _Request(page_size=_PAGE)
        if time is not None:
            request.after.FromDatetime(time)
        while True:
            page = await self._erasures.ListErasures(request)
            for erasure in page.erasures:
                yield erasure
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
