"""`verify-audit`: re-walks the audit chains of the database and prints what it finds."""

import asyncio
import sys

from services.kit.database import Database
from services.kit.uow_sql import SqlUnits
from services.user.settings import UserSettings
from services.user.storage.transaction import SqlUserTx
from services.user.usecases.auditing import ChainReport, verify_chains


def verify_audit(settings: UserSettings) -> int:
    """Print one line per tenant; return 0 when every chain holds and 1 otherwise."""
    reports = asyncio.run(_reports(settings.database_url))
    for report in reports:
        sys.stdout.write(_line(report) + "\n")
    if not reports:
        sys.stdout.write("the audit log is empty\n")
    return int(any(report.broken for report in reports))


async def _reports(database_url: str) -> list[ChainReport]:
    database = Database(database_url)
    try:
        return [report async for report in verify_chains(SqlUnits(database, SqlUserTx))]
    finally:
        await database.close()


def _line(report: ChainReport) -> str:
    if report.broken is None:
        return f"tenant {report.tenant}: {report.entries} entries, the chain holds"
    return f"tenant {report.tenant}: BROKEN at entry {report.broken.seq}: {report.broken.why}"
