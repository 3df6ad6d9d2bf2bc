"""Accounts and the rows of `users`."""

from typing import Any

from sqlalchemy.engine import RowMapping

from services.user.domain.accounts import Role, State, User


def row_of(user: User) -> dict[str, Any]:
    """Return what changes of an account, by column."""
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
        "search_text": user.search_text,
    }


def user_of(row: RowMapping) -> User:
    """Return the account of a row of `users`."""
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
