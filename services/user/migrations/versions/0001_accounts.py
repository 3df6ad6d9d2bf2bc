"""Accounts, sessions, throttles, revocations and the audit log."""

import sqlalchemy as sa
from alembic import op

from services.kit.migrations_tables import create_request_claims, drop_request_claims
from services.kit.types import UtcDateTime

revision = "0001"
down_revision = None


def _id(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), primary_key=primary_key, nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(create_constraint=False), nullable=False)


def upgrade() -> None:
    create_request_claims()
    _create_users()
    _create_sessions()
    _create_security()
    _create_audit()


def _create_users() -> None:
    op.create_table(
        "users",
        _id("tenant", primary_key=True),
        _id("id", primary_key=True),
        sa.Column("email", sa.String(254), nullable=True),
        sa.Column("phone", sa.String(16), nullable=True),
        sa.Column("username", sa.String(32), nullable=True),
        sa.Column("username_key", sa.String(32), nullable=True),
        sa.Column("display_name", sa.String(100), nullable=False),
        sa.Column("password_hash", sa.LargeBinary(60), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("plan", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        _flag("email_verified"),
        _flag("phone_verified"),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
    )
    op.create_index("idx_users_email", "users", ["tenant", "email"], unique=True)
    op.create_index("idx_users_phone", "users", ["tenant", "phone"], unique=True)
    op.create_index("idx_users_username", "users", ["tenant", "username_key"], unique=True)
    op.create_index("idx_users_plan", "users", ["tenant", "plan"])
    op.create_index("idx_users_created_at", "users", ["tenant", "created_at"])
    op.create_table("subjects", _id("tenant", primary_key=True), _id("user_id", primary_key=True), _id("subject"))
    op.create_index("uq_subjects_tenant_subject", "subjects", ["tenant", "subject"], unique=True)


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        _id("tenant", primary_key=True),
        _id("id", primary_key=True),
        _id("user_id"),
        sa.Column("device", sa.String(100), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("refreshed_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("revoke_reason", sa.String(32), nullable=True),
        sa.ForeignKeyConstraint(["tenant", "user_id"], ["users.tenant", "users.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_sessions_user", "sessions", ["tenant", "user_id", "created_at", "id"])
    op.create_index("ix_sessions_refreshed_at", "sessions", ["refreshed_at"])
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"])
    op.create_table(
        "refresh_tokens",
        _id("tenant", primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        _id("session_id"),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["tenant", "session_id"], ["sessions.tenant", "sessions.id"], ondelete="CASCADE"),
    )
    op.create_index("uq_refresh_tokens_digest", "refresh_tokens", ["digest"], unique=True)
    op.create_index("ix_refresh_tokens_session", "refresh_tokens", ["tenant", "session_id", "generation"])
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])


def _create_security() -> None:
    op.create_table(
        "throttles",
        _id("tenant", primary_key=True),
        _id("key", primary_key=True),
        _flag("known"),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", UtcDateTime(), nullable=False),
        sa.Column("closed_until", UtcDateTime(), nullable=True),
        _flag("noted"),
    )
    op.create_index("ix_throttles_last_at", "throttles", ["known", "last_at"])
    op.create_table(
        "revocations",
        _id("tenant", primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        _id("id", primary_key=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_revocations_revoked_at", "revocations", ["revoked_at"])


def _create_audit() -> None:
    op.create_table(
        "audit_entries",
        _id("tenant", primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True),
        sa.Column("time", UtcDateTime(), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        _id("actor"),
        _id("target"),
        _id("session"),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.LargeBinary(32), nullable=False),
        sa.Column("seal", sa.LargeBinary(32), nullable=False),
    )
    op.create_table(
        "audit_heads",
        _id("tenant", primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(32), nullable=False),
    )


def downgrade() -> None:
    for table in (
        "audit_heads", "audit_entries", "revocations", "throttles", "refresh_tokens", "sessions", "subjects", "users",
    ):  # fmt: skip
        op.drop_table(table)
    drop_request_claims()
