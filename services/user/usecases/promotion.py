"""Making somebody an admin on the machine itself: how a mesh gets its first one."""

from services.kit.call import DEFAULT_TENANT
from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound
from services.user.domain import accounts
from services.user.domain.accounts import Role, User
from services.user.domain.audit import SYSTEM, Action, Event, Outcome
from services.user.domain.sessions import Revocation
from services.user.ports import UserTx
from services.user.usecases.administration import give_role
from services.user.usecases.common import Operated


async def make_admin(outside: Operated, identifier_text: str) -> tuple[User, Role]:
    """Give the account of an e-mail address, phone number or username all permissions; return it and its old role.

    NotFound when nobody registered with it, FailedPrecondition when the account is suspended. Harmless to repeat.
    """
    identifier = accounts.identifier(identifier_text)
    if identifier is None:
        raise InvalidArgument(f"{identifier_text!r} is no e-mail address, phone number or username")
    ended: list[Revocation] = []

    async def work(tx: UserTx) -> tuple[User, Role]:
        ended.clear()
        await tx.users.lock_admins(DEFAULT_TENANT)
        found = await tx.users.identified(DEFAULT_TENANT, identifier)
        user = await tx.users.get(DEFAULT_TENANT, found.id, lock=True) if found else None
        if user is None:
            raise NotFound(f"nobody has registered with {identifier_text}; register first, then make this an admin")
        if user.suspended:
            raise FailedPrecondition("this account is suspended; another admin can reinstate it")
        if user.role is Role.ADMIN:
            return user, user.role
        now = outside.clock.now()
        after = await give_role(tx, user, Role.ADMIN, now, ended)
        subject = await tx.subjects.of(user.tenant, user.id)
        details = {"changes": f"role: {user.role.value} → {after.role.value}"}
        allowed = Outcome.ALLOWED
        await tx.audit.append(Event(user.tenant, now, Action.USER_ROLE_SET, allowed, SYSTEM, subject, details=details))
        return after, user.role

    result = await outside.units.run(None, work)
    if ended:
        await outside.revoker.publish(ended)
    return result
