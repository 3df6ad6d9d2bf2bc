"""What hangs on an AsyncClient: `client.users`, `client.sessions`, `client.documents`, `client.recognitions`.

Every method takes `timeout`, in seconds over all its attempts; without one it has the method's own. Every method raises
CandelaError.
"""

import asyncio
from collections.abc import Sequence

from candela import methods, requests
from candela.async_engine import AsyncEngine
from candela.pagers import AsyncPager
from candela.recognition.v1 import recognition_pb2, recognition_service_pb2
from candela.tokens import TokenKeeper
from candela.user.v1 import session_pb2, session_service_pb2, user_pb2, user_service_pb2


class AsyncUsers:
    """The caller's own account."""

    def __init__(self, engine: AsyncEngine, keeper: TokenKeeper) -> None:
        self._engine = engine
        self._keeper = keeper

    async def me(self, *, timeout: float | None = None) -> user_pb2.User:
        """Returns the caller's account."""
        return await self._engine.unary(methods.GET_USER, user_service_pb2.GetUserRequest(name=requests.ME), timeout)

    async def update(
        self,
        *,
        display_name: str | None = None,
        username: str | None = None,
        email: str | None = None,
        phone: str | None = None,
        etag: str = "",
        timeout: float | None = None,
    ) -> user_pb2.User:
        """Changes the fields that are given; an empty text clears one. `etag` guards against concurrent changes."""
        request = requests.update_user(etag, display_name=display_name, username=username, email=email, phone=phone)
        return await self._engine.unary(methods.UPDATE_USER, request, timeout)

    async def change_password(self, current: str, new: str, *, timeout: float | None = None) -> None:
        """Changes the caller's password; all other sessions end."""
        await self._engine.unary(methods.CHANGE_PASSWORD, requests.change_password(current, new), timeout)

    async def delete(self, *, timeout: float | None = None) -> None:
        """Erases the caller's account for good and forgets the session."""
        await self._engine.unary(methods.DELETE_USER, user_service_pb2.DeleteUserRequest(name=requests.ME), timeout)
        self._keeper.clear()


class AsyncSessions:
    """The caller's sign-ins."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def list(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncPager[session_service_pb2.ListSessionsResponse, session_pb2.Session]:
        """Iterates over the living sessions, the newest first. `timeout` is for each page."""

        async def fetch(token: str) -> session_service_pb2.ListSessionsResponse:
            request = session_service_pb2.ListSessionsRequest(page_size=page_size, page_token=token)
            return await self._engine.unary(methods.LIST_SESSIONS, request, timeout)

        return AsyncPager(fetch, lambda page: page.sessions, lambda page: page.next_page_token)

    async def revoke(self, name: str, *, timeout: float | None = None) -> None:
        """Ends one of the caller's sessions, `sessions/{session}`."""
        await self._engine.unary(methods.DELETE_SESSION, session_service_pb2.DeleteSessionRequest(name=name), timeout)


class AsyncDocuments:
    """Reading documents."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def recognize(
        self,
        source: requests.Source | None = None,
        *,
        file: str = "",
        include_characters: bool = False,
        pages: Sequence[int] = (),
        request_id: str = "",
        timeout: float | None = None,
    ) -> recognition_pb2.Recognition:
        """Reads the text of a document: a path, its bytes, or the name of an uploaded `file`.

        `pages` are numbers from 1, empty for all. A call with the same `request_id` (a UUID) as before returns the
        first answer. Raises OSError when the path cannot be read.
        """
        content = await asyncio.to_thread(requests.read, source)
        request = requests.recognize_document(content, file, include_characters, pages, request_id)
        return await self._engine.unary(methods.RECOGNIZE_DOCUMENT, request, timeout)


class AsyncRecognitions:
    """The caller's history of recognitions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def list(
        self, *, page_size: int = 0, timeout: float | None = None
    ) -> AsyncPager[recognition_service_pb2.ListRecognitionsResponse, recognition_pb2.Recognition]:
        """Iterates over the history, newest first and without results. `timeout` is for each page."""

        async def fetch(token: str) -> recognition_service_pb2.ListRecognitionsResponse:
            request = recognition_service_pb2.ListRecognitionsRequest(page_size=page_size, page_token=token)
            return await self._engine.unary(methods.LIST_RECOGNITIONS, request, timeout)

        return AsyncPager(fetch, lambda page: page.recognitions, lambda page: page.next_page_token)

    async def get(self, name: str, *, timeout: float | None = None) -> recognition_pb2.Recognition:
        """Returns a recognition with its result, `recognitions/{recognition}`."""
        request = recognition_service_pb2.GetRecognitionRequest(name=name)
        return await self._engine.unary(methods.GET_RECOGNITION, request, timeout)

    async def delete(self, name: str, *, timeout: float | None = None) -> None:
        """Deletes a recognition for good."""
        request = recognition_service_pb2.DeleteRecognitionRequest(name=name)
        await self._engine.unary(methods.DELETE_RECOGNITION, request, timeout)
