"""Ending sessions inside a transaction."""

from datetime import datetime

from services.user.domain.sessions import Ended, EndReason, Revocation, Session
from services.user.ports import UserTx


async def end_session(tx: UserTx, session: Session, reason: EndReason, now: datetime) -> Revocation:
    """Mark a locked session as ended and put its revocation into the log that Redis is healed from."""
    await tx.sessions.update(session.ended(reason, now))
    revocation = Revocation(session.tenant, Ended.SESSION, session.id, now)
    await tx.revocations.add([revocation])
    return revocation
