"""candela.identity.v1.KeyService, and the same for this very process."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.empty_pb2 import Empty

from candela.identity.v1 import key_pb2, key_service_pb2, key_service_pb2_grpc
from services.kit.api_keys import KnownKey
from services.kit.call import current_call
from services.kit.idempotency import Replies
from services.kit.key_reports import RefusedKey, UsedKey
from services.kit.key_service import key_principal
from services.user.api.mapping import moment, nothing, timestamp
from services.user.domain.api_keys import KeyRefusal, KeyUse
from services.user.usecases.key_checks import KeyChecks, Standing


class KeyApi(key_service_pb2_grpc.KeyServiceServicer):
    """For the other services of the mesh only."""

    def __init__(self, checks: KeyChecks) -> None:
        self._checks = checks
        self._replies = Replies()

    async def LookUpKey(
        self, request: key_service_pb2.LookUpKeyRequest, context: Any
    ) -> key_service_pb2.LookUpKeyResponse:
        standing = await self._checks.look_up(request.digest)
        return key_service_pb2.LookUpKeyResponse(key=_message(standing) if standing else None)

    async def ReportKeyUses(self, request: key_service_pb2.ReportKeyUsesRequest, context: Any) -> Empty:
        uses = [KeyUse(use.tenant, use.key, time) for use in request.uses if (time := moment(use, "use_time"))]
        refusals = [KeyRefusal(one.tenant, one.key, one.method, one.reason, one.count) for one in request.refusals]
        return await self._replies.run(
            current_call(), Empty, lambda call: self._checks.take_in(call, uses, refusals), nothing
        )


class OwnKeySource:
    """What the kit asks the user service, answered in the user service itself."""

    def __init__(self, checks: KeyChecks) -> None:
        self._checks = checks

    async def look_up(self, digest: bytes) -> KnownKey | None:
        standing = await self._checks.look_up(digest)
        if standing is None:
            return None
        key = standing.key
        principal = key_principal(
            tenant=key.tenant,
            user=key.user,
            key=key.id,
            role=standing.role,
            scopes=sorted(key.scopes),
            requests_per_minute=key.requests_per_minute or 0,
        )
        return KnownKey(principal, key.expire_time.timestamp() if key.expire_time else None)

    async def report(self, uses: Sequence[UsedKey], refusals: Sequence[RefusedKey]) -> None:
        await self._checks.take_in_own(
            [KeyUse(use.tenant, use.key, use.time) for use in uses],
            [KeyRefusal(one.tenant, one.key, one.method, one.reason, one.count) for one in refusals],
        )


def _message(standing: Standing) -> key_pb2.Key:
    key = standing.key
    message = key_pb2.Key(
        tenant=key.tenant,
        key=key.id,
        user=key.user,
        role=standing.role,
        scopes=sorted(key.scopes),
        requests_per_minute=key.requests_per_minute or 0,
    )
    if key.expire_time is not None:
        message.expire_time.CopyFrom(timestamp(key.expire_time))
    return message
