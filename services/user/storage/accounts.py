"""Accounts and audit subjects in SQL."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import Insert, Update

from services.kit.database import for_update
from services.kit.database_errors import unique_violation
from services.kit.paging import Page, PageRequest
from services.user.domain.accounts import Identifier, IdentifierKind, Role, State, User, UserSearch, taken
from services.user.storage.tables import SUBJECTS, USERS
from services.user.storage.user_rows import row_of, user_of
from services.user.storage.user_search import search_users

_FIELD_OF_COLUMN = {"email": "email", "phone": "phone", "username_key": "username"}
_COLUMN_OF_KIND = {
    IdentifierKind.EMAIL: USERS.c.email,
    IdentifierKind.PHONE: USERS.c.phone,
    IdentifierKind.USERNAME: USERS.c.username_key,
}


class SqlUsers:
    """The accounts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, user: User) -> None:
        await self._write(
            insert(USERS).values(tenant=user.tenant, id=user.id, created_at=user.create_time, **row_of(user))
        )

    async def get(self, tenant: str, user: str, *, lock: bool = False) -> User | None:
        return await self._one(_is(tenant, user), lock=lock)

    async def identified(self, tenant: str, identifier: Identifier) -> User | None:
        column = _COLUMN_OF_KIND[identifier.kind]
        return await self._one(and_(USERS.c.tenant == tenant, column == identifier.value))

    async def update(self, user: User) -> None:
        await self._write(update(USERS).where(_is(user.tenant, user.id)).values(**row_of(user)))

    async def delete(self, tenant: str, user: str) -> None:
        await self._session.execute(delete(USERS).where(_is(tenant, user)))

    async def search(self, tenant: str, wanted: UserSearch, page: PageRequest) -> Page[User]:
        return await search_users(self._session, tenant, wanted, page)

    async def lock_admins(self, tenant: str) -> list[str]:
        admins = and_(USERS.c.tenant == tenant, USERS.c.role == Role.ADMIN.value, USERS.c.state == State.ACTIVE.value)
        # In one order for everybody; a row that changed while this waited for it is judged by what it says then.
        locked = for_update(select(USERS.c.id).where(admins).order_by(USERS.c.id))
        return list((await self._session.execute(locked)).scalars())

    async def _one(self, condition: ColumnElement[bool], *, lock: bool = False) -> User | None:
        statement = select(USERS).where(condition)
        row = (await self._session.execute(for_update(statement) if lock else statement)).mappings().one_or_none()
        return user_of(row) if row else None

    async def _write(self, statement: Insert | Update) -> None:
        try:
            await self._session.execute(statement)
        except IntegrityError as error:
            for column in unique_violation(error) or ():
                if column in _FIELD_OF_COLUMN:
                    raise taken(_FIELD_OF_COLUMN[column]) from None  # the driver's text repeats the address
            raise


def _is(tenant: str, user: str) -> ColumnElement[bool]:
    return and_(USERS.c.tenant == tenant, USERS.c.id == user)


class SqlSubjects:
    """Which subject of the audit log is which user."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, tenant: str, user: str, subject: str) -> None:
        await self._session.execute(insert(SUBJECTS).values(tenant=tenant, user_id=user, subject=subject))

    async def of(self, tenant: str, user: str) -> str:
        statement = select(SUBJECTS.c.subject).where(SUBJECTS.c.tenant == tenant, SUBJECTS.c.user_id == user)
        return (await self._session.execute(statement)).scalar_one_or_none() or ""

    async def users_of(self, tenant: str, subjects: Collection[str]) -> dict[str, str]:
        if not subjects:
            return {}
        known = and_(SUBJECTS.c.tenant == tenant, SUBJECTS.c.subject.in_(sorted(subjects)))
        rows = await self._session.execute(select(SUBJECTS.c.subject, SUBJECTS.c.user_id).where(known))
        return {row.subject: row.user_id for row in rows}

    async def erase(self, tenant: str, user: str) -> None:
        await self._session.execute(delete(SUBJECTS).where(SUBJECTS.c.tenant == tenant, SUBJECTS.c.user_id == user))
