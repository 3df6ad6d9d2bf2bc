"""candela.user.v1.UserService."""

from typing import Any

from google.protobuf.empty_pb2 import Empty

from candela.user.v1 import user_pb2, user_service_pb2, user_service_pb2_grpc
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.user.api.mapping import id_of, nothing, profile_change, registration, user_message
from services.user.usecases.accounts import Accounts
from services.user.usecases.passwords import Passwords


class UserApi(user_service_pb2_grpc.UserServiceServicer):
    """Accounts: registration and one's own profile."""

    def __init__(self, accounts: Accounts, passwords: Passwords) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._replies = Replies()

    async def RegisterUser(self, request: user_service_pb2.RegisterUserRequest, context: Any) -> user_pb2.User:
        return await self._replies.run(
            current_call(),
            user_pb2.User,
            lambda call: self._accounts.register(call, registration(request)),
            user_message,
        )

    async def GetUser(self, request: user_service_pb2.GetUserRequest, context: Any) -> user_pb2.User:
        return user_message(await self._accounts.get(current_call(), id_of(request.name)))

    async def UpdateUser(self, request: user_service_pb2.UpdateUserRequest, context: Any) -> user_pb2.User:
        return await self._replies.run(
            current_call(),
            user_pb2.User,
            lambda call: self._accounts.update(call, id_of(request.user.name), profile_change(request)),
            user_message,
        )

    async def ChangePassword(self, request: user_service_pb2.ChangePasswordRequest, context: Any) -> Empty:
        user, current, new = id_of(request.name), request.current_password, request.new_password
        return await self._replies.run(
            current_call(), Empty, lambda call: self._passwords.change(call, user, current, new), nothing
        )

    async def DeleteUser(self, request: user_service_pb2.DeleteUserRequest, context: Any) -> Empty:
        return await self._replies.run(
            current_call(), Empty, lambda call: self._accounts.delete(call, id_of(request.name)), nothing
        )
