"""candela.user.v1.ApiKeyService."""

from typing import Any

from google.protobuf.empty_pb2 import Empty

from candela.user.v1 import api_key_pb2, api_key_service_pb2, api_key_service_pb2_grpc
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.kit.paging import Listing, PageTokens
from services.user.api.mapping import id_of, moment, nothing, timestamp
from services.user.domain.api_keys import ApiKey, KeyChange, NewKey, Scope
from services.user.usecases.api_keys import KeyGrant, OwnKeys

_SCOPES = {scope: api_key_pb2.ApiKeyScope.Value(f"API_KEY_SCOPE_{scope.value}") for scope in Scope}
_SCOPE_OF = {number: scope for scope, number in _SCOPES.items()}


class ApiKeyApi(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """Keys for programs, by their owners."""

    def __init__(self, keys: OwnKeys, page_tokens: PageTokens) -> None:
        self._keys = keys
        self._page_tokens = page_tokens
        self._replies = Replies()

    async def CreateApiKey(
        self, request: api_key_service_pb2.CreateApiKeyRequest, context: Any
    ) -> api_key_pb2.ApiKeyGrant:
        return await self._replies.run(
            current_call(),
            api_key_pb2.ApiKeyGrant,
            lambda call: self._keys.create(call, _new_key(request)),
            _grant_message,
        )

    async def ListApiKeys(
        self, request: api_key_service_pb2.ListApiKeysRequest, context: Any
    ) -> api_key_service_pb2.ListApiKeysResponse:
        call = current_call()
        listing = Listing("api keys", call.caller.tenant, call.caller.user)
        wanted = self._page_tokens.read(request.page_size, request.page_token, listing)
        page = await self._keys.list(call, wanted)
        return api_key_service_pb2.ListApiKeysResponse(
            api_keys=[key_message(key) for key in page.items],
            next_page_token=self._page_tokens.write(page.next, listing),
        )

    async def GetApiKey(self, request: api_key_service_pb2.GetApiKeyRequest, context: Any) -> api_key_pb2.ApiKey:
        return key_message(await self._keys.get(current_call(), id_of(request.name)))

    async def UpdateApiKey(self, request: api_key_service_pb2.UpdateApiKeyRequest, context: Any) -> api_key_pb2.ApiKey:
        return await self._replies.run(
            current_call(),
            api_key_pb2.ApiKey,
            lambda call: self._keys.update(call, id_of(request.api_key.name), _key_change(request)),
            key_message,
        )

    async def DeleteApiKey(self, request: api_key_service_pb2.DeleteApiKeyRequest, context: Any) -> Empty:
        return await self._replies.run(
            current_call(), Empty, lambda call: self._keys.end(call, id_of(request.name)), nothing
        )


def key_message(key: ApiKey) -> api_key_pb2.ApiKey:
    """Return a key as its owner sees it."""
    message = api_key_pb2.ApiKey(
        name=f"apiKeys/{key.id}",
        display_name=key.display_name,
        prefix=key.prefix,
        scopes=sorted(_SCOPES[scope] for scope in key.scopes),
        budget_micro_credits=key.budget_micro_credits,
        requests_per_minute=key.requests_per_minute,
        create_time=timestamp(key.create_time),
        etag=key.etag,
    )
    if key.expire_time is not None:
        message.expire_time.CopyFrom(timestamp(key.expire_time))
    if key.last_use_time is not None:
        message.last_use_time.CopyFrom(timestamp(key.last_use_time))
    return message


def _grant_message(grant: KeyGrant) -> api_key_pb2.ApiKeyGrant:
    return api_key_pb2.ApiKeyGrant(api_key=key_message(grant.key), secret=grant.secret)


def _new_key(request: api_key_service_pb2.CreateApiKeyRequest) -> NewKey:
    return NewKey(
        display_name=request.display_name,
        scopes=frozenset(_SCOPE_OF[number] for number in request.scopes),
        budget_micro_credits=request.budget_micro_credits if request.HasField("budget_micro_credits") else None,
        requests_per_minute=request.requests_per_minute if request.HasField("requests_per_minute") else None,
        expire_time=moment(request, "expire_time"),
    )


def _key_change(request: api_key_service_pb2.UpdateApiKeyRequest) -> KeyChange:
    key = request.api_key
    return KeyChange(
        display_name=key.display_name,
        budget_micro_credits=key.budget_micro_credits if key.HasField("budget_micro_credits") else None,
        requests_per_minute=key.requests_per_minute if key.HasField("requests_per_minute") else None,
        paths=tuple(request.update_mask.paths),
        etag=key.etag,
    )
