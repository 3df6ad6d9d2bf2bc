"""API keys, searching users, and an audit log that says by which call an entry was made."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime

revision = "0003"
down_revision = "0002"

_BATCH = 500


def upgrade() -> None:
    _create_api_keys()
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("search_text", sa.String(640), nullable=False, server_default=""))
    op.create_index("idx_users_role", "users", ["tenant", "role"])
    _fill_search_text()
    with op.batch_alter_table("audit_entries") as entries:
        for name, length in (("method", 160), ("resource", 200), ("peer", 64), ("trace_id", 32)):
            entries.add_column(sa.Column(name, sa.String(length), nullable=False, server_default=""))
        # What is there was sealed without the new columns, and its seals stay as they are.
        entries.add_column(sa.Column("format", sa.SmallInteger(), nullable=False, server_default="1"))
    for column in ("actor", "target", "resource", "action"):
        op.create_index(f"ix_audit_entries_{column}", "audit_entries", ["tenant", column, "seq"])
    op.create_index("ix_audit_entries_time", "audit_entries", ["tenant", "time"])


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("display_name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("budget_micro_credits", sa.BigInteger(), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("revoke_reason", sa.String(32), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant", "user_id"], ["users.tenant", "users.id"], ondelete="CASCADE"),
    )
    op.create_index("uq_api_keys_digest", "api_keys", ["digest"], unique=True)
    op.create_index("ix_api_keys_user", "api_keys", ["tenant", "user_id", "created_at", "id"])
    op.create_index("ix_api_keys_revoked_at", "api_keys", ["revoked_at"])


def _fill_search_text() -> None:
    users = sa.table("users", *(sa.column(name) for name in _COLUMNS), sa.column("search_text"))
    connection = op.get_bind()
    after: tuple[Any, Any] = ("", "")
    while True:
        key = sa.tuple_(users.c.tenant, users.c.id)
        wanted = sa.select(*(users.c[name] for name in _COLUMNS)).where(key > sa.tuple_(*map(sa.literal, after)))
        rows = connection.execute(wanted.order_by(users.c.tenant, users.c.id).limit(_BATCH)).all()
        for tenant, user, *texts in rows:
            text = "\n".join((part or "").casefold() for part in texts)
            one = sa.and_(users.c.tenant == tenant, users.c.id == user)
            connection.execute(sa.update(users).where(one).values(search_text=text))
        if len(rows) < _BATCH:
            return
        after = (rows[-1][0], rows[-1][1])


_COLUMNS = ("tenant", "id", "email", "phone", "username", "display_name")


def downgrade() -> None:
    for column in ("time", "action", "resource", "target", "actor"):
        op.drop_index(f"ix_audit_entries_{column}", "audit_entries")
    # Entries in the newer form lose what their seals cover: an older version finds their chain broken, rightly.
    with op.batch_alter_table("audit_entries") as entries:
        for name in ("format", "trace_id", "peer", "resource", "method"):
            entries.drop_column(name)
    op.drop_index("idx_users_role", "users")
    with op.batch_alter_table("users") as users:
        users.drop_column("search_text")
    op.drop_table("api_keys")
