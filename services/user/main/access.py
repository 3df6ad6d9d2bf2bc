"""How API keys, administration and the audit log are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from candela.identity.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from candela.user.v1.api_key_service_pb2_grpc import add_ApiKeyServiceServicer_to_server
from candela.user.v1.audit_service_pb2_grpc import add_AuditServiceServicer_to_server
from candela.user.v1.user_admin_service_pb2_grpc import add_UserAdminServiceServicer_to_server
from services.kit.api_keys import CachedApiKeys
from services.kit.bootstrap import Binding, Mesh
from services.kit.key_limits import MinuteLimits
from services.kit.key_reports import KeyReports
from services.kit.paging import PageTokens
from services.user.api.administration import UserAdminApi
from services.user.api.api_keys import ApiKeyApi
from services.user.api.audit import AuditApi
from services.user.api.keys import KeyApi, OwnKeySource
from services.user.settings import UserSettings
from services.user.usecases.administration import Administration
from services.user.usecases.api_keys import OwnKeys
from services.user.usecases.audit_log import AuditLog
from services.user.usecases.common import Outside
from services.user.usecases.key_checks import KeyChecks


@asynccontextmanager
async def governing(
    mesh: Mesh[UserSettings], outside: Outside, page_tokens: PageTokens
) -> AsyncIterator[list[Binding]]:
    """Check API keys in this process without a call, and yield the servicers of keys, admins and the audit log."""
    checks = KeyChecks(outside)
    source = OwnKeySource(checks)
    reports = KeyReports(source, mesh.clock)
    limits = MinuteLimits(mesh.redis, mesh.clock)
    mesh.api_keys = CachedApiKeys(source, mesh.revocations, limits, reports, mesh.clock)
    keys = OwnKeys(outside, mesh.settings.user_api_keys)
    async with reports.sending():
        yield [
            Binding(add_KeyServiceServicer_to_server, KeyApi(checks)),
            Binding(add_ApiKeyServiceServicer_to_server, ApiKeyApi(keys, page_tokens)),
            Binding(add_UserAdminServiceServicer_to_server, UserAdminApi(Administration(outside), page_tokens)),
            Binding(add_AuditServiceServicer_to_server, AuditApi(AuditLog(outside), page_tokens)),
        ]
