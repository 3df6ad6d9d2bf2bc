"""`client.users`: the generated methods and what is said shorter."""

from candela.api import users
from candela.user.v1 import user_pb2


class Users(users.Users):
    """The caller's own account, and what admins do with accounts."""

    def me(self, *, timeout: float | None = None) -> user_pb2.User:
        """Returns the caller's account."""
        return self.get(timeout=timeout)

    def delete(self, *, name: str = "users/me", request_id: str = "", timeout: float | None = None) -> None:
        """Erases the caller's account for good and forgets the session."""
        super().delete(name=name, request_id=request_id, timeout=timeout)
        self._engine.keeper.clear()


class AsyncUsers(users.AsyncUsers):
    """What Users is, for asyncio."""

    async def me(self, *, timeout: float | None = None) -> user_pb2.User:
        """Returns the caller's account."""
        return await self.get(timeout=timeout)

    async def delete(self, *, name: str = "users/me", request_id: str = "", timeout: float | None = None) -> None:
        """Erases the caller's account for good and forgets the session."""
        await super().delete(name=name, request_id=request_id, timeout=timeout)
        self._engine.keeper.clear()
