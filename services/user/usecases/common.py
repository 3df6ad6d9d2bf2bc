"""What the use cases share: whose account a call means, how a denial is remembered, how revocations spread."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.kit.call import Call, Principal
from services.kit.clock import Clock
from services.kit.errors import Unauthenticated
from services.kit.ids import Ids
from services.kit.live_settings import Live
from services.kit.uow import Units
from services.user.domain.accounts import Identifier, no_such_user
from services.user.domain.audit import Action, Event, Outcome
from services.user.domain.sessions import Revocation
from services.user.ports import (
    AccessTokens,
    Blinder,
    Hasher,
    RefreshSecrets,
    Revoker,
    UserTx,
)
from services.user.ports.api_keys import KeySecrets

ME = "me"


@dataclass(frozen=True, slots=True)
class Outside:
    """Everything that use cases reach the world through."""

    units: Units[UserTx]
    clock: Clock
    ids: Ids
    hasher: Hasher
    access_tokens: AccessTokens
    refresh_secrets: RefreshSecrets
    revoker: Revoker
    blinder: Blinder
    key_secrets: KeySecrets
    live: Live | None = None  # what admins have set; without it everything is as the process was started


class Operated(Protocol):
    """The part of Outside that a command on the machine itself has."""

    @property
    def units(self) -> Units[UserTx]: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def revoker(self) -> Revoker: ...


class _NotDoneYet(Exception):
    """The request id is free. Rolls the probe back and never leaves this file."""


async def raise_replay(units: Units[UserTx], call: Call) -> None:
    """Raise Replay (or AlreadyExists) when the call was done before; do nothing otherwise.

    Saves a repeated call the slow hash, and lets a repeated password change through although its "current" password
    is the old one by now.
    """
    if not call.request_id:
        return
    try:
        async with units.write(call):
            raise _NotDoneYet
    except _NotDoneYet:
        return


def signed_in(call: Call) -> Principal:
    """Return the caller, who must be a user; Unauthenticated otherwise."""
    caller = call.caller
    if not caller.user:
        raise Unauthenticated("this method needs a signed-in user", reason="TOKEN_MISSING")
    return caller


async def own_account(outside: Outside, call: Call, user: str) -> Principal:
    """Return the caller when `user` (an id or `me`) is the caller's own account.

    NotFound otherwise, with an entry in the audit log: asking for somebody else's account is worth remembering.
    """
    caller = signed_in(call)
    if user not in (ME, caller.user):
        await deny(outside, call, "user")
        raise no_such_user()
    return caller


async def deny(outside: Outside, call: Call, resource: str) -> None:
    """Remember that the caller was refused something; in a transaction of its own, so that it stays."""
    caller = call.caller
    async with outside.units.write() as tx:
        await tx.audit.append(
            Event(
                tenant=caller.tenant,
                time=outside.clock.now(),
                action=Action.ACCESS_DENIED,
                outcome=Outcome.DENIED,
                actor=await tx.subjects.of(caller.tenant, caller.user),
                session=caller.session,
                details={"method": call.method, "resource": resource},
            )
        )


async def spread(outside: Outside, revocations: Sequence[Revocation]) -> None:
    """Tell the mesh, after the commit. Failing is no error: the republisher does it again within a second."""
    if revocations:
        await outside.revoker.publish(revocations)


def throttle_key(user: str, identifier: Identifier | None, text: str) -> str:
    """Return what wrong passwords are counted by.

    One count per account, whichever of its identifiers is tried; and per text where that names no account, hashed
    because it may be somebody's address all the same.
    """
    if user:
        return f"u:{user}"
    meant = identifier.value if identifier else text.strip()
    return "i:" + hashlib.sha256(meant.encode()).hexdigest()[:48]
