"""candela.user.v1.UserAdminService."""

from typing import Any

from candela.user.v1 import user_admin_service_pb2, user_admin_service_pb2_grpc, user_pb2
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import ROLE_OF, STATE_OF, id_of, user_message
from services.user.domain.accounts import UserSearch
from services.user.usecases.administration import Administration


class UserAdminApi(user_admin_service_pb2_grpc.UserAdminServiceServicer):
    """What admins do with the accounts of their tenant."""

    def __init__(self, administration: Administration, page_tokens: PageTokens) -> None:
        self._administration = administration
        self._page_tokens = page_tokens
        self._replies = Replies()

    async def ListUsers(
        self, request: user_admin_service_pb2.ListUsersRequest, context: Any
    ) -> user_admin_service_pb2.ListUsersResponse:
        call = current_call()
        search = UserSearch(
            query=request.query, role=ROLE_OF.get(request.role), state=STATE_OF.get(request.state), plan=request.plan
        )
        listing = Listing("users", call.caller.tenant, call.caller.user, filter=repr(search))
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._administration.list(call, search, wanted)
        return user_admin_service_pb2.ListUsersResponse(
            users=[user_message(user) for user in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def SuspendUser(self, request: user_admin_service_pb2.SuspendUserRequest, context: Any) -> user_pb2.User:
        user, comment = id_of(request.name), request.reason
        return await self._replies.run(
            current_call(),
            user_pb2.User,
            lambda call: self._administration.suspend(call, user, comment),
            user_message,
        )

    async def ReinstateUser(self, request: user_admin_service_pb2.ReinstateUserRequest, context: Any) -> user_pb2.User:
        user, comment = id_of(request.name), request.reason
        return await self._replies.run(
            current_call(),
            user_pb2.User,
            lambda call: self._administration.reinstate(call, user, comment),
            user_message,
        )

    async def SetUserRole(self, request: user_admin_service_pb2.SetUserRoleRequest, context: Any) -> user_pb2.User:
        user, role = id_of(request.name), ROLE_OF[request.role]
        return await self._replies.run(
            current_call(),
            user_pb2.User,
            lambda call: self._administration.set_role(call, user, role),
            user_message,
        )
