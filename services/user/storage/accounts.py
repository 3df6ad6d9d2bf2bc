"""Accounts and audit subjects in SQL."""

from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import Insert, Update

from services.kit.database import for_update
from services.kit.database_errors import unique_violation
from services.user.domain.accounts import Identifier, IdentifierKind, Role, State, User, taken
from services.user.storage.tables import SUBJECTS, USERS

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
            insert(USERS).values(tenant=user.tenant, id=user.id, created_at=user.create_time, **_row(user))
        )

    async def get(self, tenant: str, user: str, *, lock: bool = False) -> User | None:
        return await self._one(_is(tenant, user), lock=lock)

    async def identified(self, tenant: str, identifier: Identifier) -> User | None:
        column = _COLUMN_OF_KIND[identifier.kind]
        return await self._one(and_(USERS.c.tenant == tenant, column == identifier.value))

    async def update(self, user: User) -> None:
        await self._write(update(USERS).where(_is(user.tenant, user.id)).values(**_row(user)))

    async def delete(self, tenant: str, user: str) -> None:
        await self._session.execute(delete(USERS).where(_is(tenant, user)))

    async def _one(self, condition: ColumnElement[bool], *, lock: bool = False) -> User | None:
        statement = select(USERS).where(condition)
        row = (await self._session.execute(for_update(statement) if lock else statement)).mappings().one_or_none()
        return _user(row) if row else None

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


def _row(user: User) -> dict[str, Any]:
    return {
        "email": user.email or None,
        "phone": user.phone or None,
        "username": user.username or None,
        "username_key": user.username_key or None,
        "display_name": user.display_name,
        "password_hash": user.password_hash,
        "role": user.role.value,
        "plan": user.plan,
        "state": user.state.value,
        "email_verified": user.email_verified,
        "phone_verified": user.phone_verified,
        "updated_at": user.update_time,
        "revision": user.revision,
    }


def _user(row: RowMapping) -> User:
    return User(
        tenant=row["tenant"],
        id=row["id"],
        email=row["email"] or "",
        phone=row["phone"] or "",
        username=row["username"] or "",
        display_name=row["display_name"],
        password_hash=row["password_hash"],
        role=Role(row["role"]),
        plan=row["plan"],
        state=State(row["state"]),
        email_verified=row["email_verified"],
        phone_verified=row["phone_verified"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
        revision=row["revision"],
    )


class SqlSubjects:
    """Which subject of the audit log is which user."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, tenant: str, user: str, subject: str) -> None:
        await self._session.execute(insert(SUBJECTS).values(tenant=tenant, user_id=user, subject=subject))

    async def of(self, tenant: str, user: str) -> str:
        statement = select(SUBJECTS.c.subject).where(SUBJECTS.c.tenant == tenant, SUBJECTS.c.user_id == user)
        return (await self._session.execute(statement)).scalar_one_or_none() or ""

    async def erase(self, tenant: str, user: str) -> None:
        await self._session.execute(delete(SUBJECTS).where(SUBJECTS.c.tenant == tenant, SUBJECTS.c.user_id == user))
