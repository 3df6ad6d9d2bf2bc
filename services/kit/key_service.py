"""The user service's word on API keys, over candela.identity.v1.KeyService."""

import uuid
from collections.abc import Sequence
from datetime import UTC

import grpc

from candela.identity.v1 import key_pb2, key_service_pb2
from candela.identity.v1.key_service_pb2_grpc import KeyServiceStub
from services.kit.access import permissions_of
from services.kit.api_keys import KnownKey
from services.kit.call import Principal
from services.kit.key_reports import RefusedKey, UsedKey
from services.kit.scopes import NEVER_BY_KEY

_SECONDS = 2.0


def key_principal(
    *, tenant: str, user: str, key: str, role: str, scopes: Sequence[str], requests_per_minute: int
) -> Principal:
    """Return whom a key stands for: its user without the rights of an admin, within its scopes."""
    return Principal(
        tenant=tenant,
        user=user,
        api_key=key,
        role=role,
        permissions=permissions_of(role) - NEVER_BY_KEY,
        scopes=frozenset(scopes),
        requests_per_minute=requests_per_minute,
    )


class KeyServiceSource:
    """Asks over a channel of the kit, whose errors are ours."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = KeyServiceStub(channel)

    async def look_up(self, digest: bytes) -> KnownKey | None:
        response = await self._stub.LookUpKey(key_service_pb2.LookUpKeyRequest(digest=digest), timeout=_SECONDS)
        return _known(response.key) if response.HasField("key") else None

    async def report(self, uses: Sequence[UsedKey], refusals: Sequence[RefusedKey]) -> None:
        request = key_service_pb2.ReportKeyUsesRequest(request_id=str(uuid.uuid4()))
        for use in uses:
            request.uses.add(tenant=use.tenant, key=use.key).use_time.FromDatetime(use.time)
        for one in refusals:
            request.refusals.add(tenant=one.tenant, key=one.key, method=one.method, reason=one.reason, count=one.count)
        await self._stub.ReportKeyUses(request, timeout=_SECONDS)


def _known(key: key_pb2.Key) -> KnownKey:
    principal = key_principal(
        tenant=key.tenant,
        user=key.user,
        key=key.key,
        role=key.role,
        scopes=key.scopes,
        requests_per_minute=key.requests_per_minute,
    )
    expires = key.expire_time.ToDatetime(UTC).timestamp() if key.HasField("expire_time") else None
    return KnownKey(principal, expires)
