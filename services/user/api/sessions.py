"""candela.user.v1.SessionService."""

from typing import Any

from google.protobuf.empty_pb2 import Empty

from candela.user.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import grant_message, id_of, key_set_message, nothing, session_message
from services.user.ports import AccessTokens
from services.user.usecases.sessions import SignIn


class SessionApi(session_service_pb2_grpc.SessionServiceServicer):
    """Signing in and staying signed in. Log-in and refresh answer with secrets: their replies are never kept."""

    def __init__(self, sign_in: SignIn, access_tokens: AccessTokens, page_tokens: PageTokens) -> None:
        self._sign_in = sign_in
        self._access_tokens = access_tokens
        self._page_tokens = page_tokens
        self._replies = Replies()

    async def CreateSession(
        self, request: session_service_pb2.CreateSessionRequest, context: Any
    ) -> session_pb2.SessionGrant:
        return grant_message(await self._sign_in.log_in(request.identifier, request.password, request.device))

    async def RefreshSession(
        self, request: session_service_pb2.RefreshSessionRequest, context: Any
    ) -> session_pb2.SessionGrant:
        return grant_message(await self._sign_in.refresh(request.refresh_token))

    async def ListSessions(
        self, request: session_service_pb2.ListSessionsRequest, context: Any
    ) -> session_service_pb2.ListSessionsResponse:
        call = current_call()
        listing = Listing("sessions", call.caller.tenant, call.caller.user)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._sign_in.list(call, wanted)
        return session_service_pb2.ListSessionsResponse(
            sessions=[session_message(session, call.caller.session) for session in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def DeleteSession(self, request: session_service_pb2.DeleteSessionRequest, context: Any) -> Empty:
        return await self._replies.run(
            current_call(), Empty, lambda call: self._sign_in.end(call, id_of(request.name)), nothing
        )

    async def DeleteOtherSessions(
        self, request: session_service_pb2.DeleteOtherSessionsRequest, context: Any
    ) -> session_service_pb2.DeleteOtherSessionsResponse:
        return await self._replies.run(
            current_call(),
            session_service_pb2.DeleteOtherSessionsResponse,
            self._sign_in.end_others,
            lambda count: session_service_pb2.DeleteOtherSessionsResponse(ended_count=count),
        )

    async def GetJsonWebKeySet(
        self, request: session_service_pb2.GetJsonWebKeySetRequest, context: Any
    ) -> session_pb2.JsonWebKeySet:
        return key_set_message(self._access_tokens.public_keys())
