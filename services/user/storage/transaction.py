"""One transaction of the user service and what it can reach."""

from services.kit.uow_sql import Scope, SqlTx
from services.user.storage.accounts import SqlSubjects, SqlUsers
from services.user.storage.announcements import SqlAnnouncements
from services.user.storage.api_keys import SqlApiKeys
from services.user.storage.audit import SqlAuditTrail
from services.user.storage.erasures import SqlErasureLog
from services.user.storage.files import SqlFiles
from services.user.storage.security import SqlRevocationLog, SqlThrottles
from services.user.storage.sessions import SqlSessions
from services.user.storage.system_configs import SqlSystemConfigs
from services.user.storage.uploads import SqlStrays, SqlUploads


class SqlUserTx(SqlTx):
    """The repositories over one database session."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.users = SqlUsers(scope.session)
        self.subjects = SqlSubjects(scope.session)
        self.sessions = SqlSessions(scope.session)
        self.api_keys = SqlApiKeys(scope.session)
        self.throttles = SqlThrottles(scope.session)
        self.revocations = SqlRevocationLog(scope.session)
        self.erasures = SqlErasureLog(scope.session)
        self.audit = SqlAuditTrail(scope.session)
        self.files = SqlFiles(scope.session)
        self.uploads = SqlUploads(scope.session)
        self.strays = SqlStrays(scope.session)
        self.announcements = SqlAnnouncements(scope.session)
        self.system_configs = SqlSystemConfigs(scope.session)
