"""Tables of the kit, for the version files of services. What stands here is history and never changes again."""

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime


def create_request_claims() -> None:
    """Make the table of idempotency_sql.py; for the `upgrade` of a version file."""
    op.create_table(
        "request_claims",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("scope", sa.String(80), primary_key=True),
        sa.Column("method", sa.String(160), primary_key=True),
        sa.Column("request_id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("reply_until", UtcDateTime(), nullable=False),
        sa.Column("kept_until", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_request_claims_kept_until", "request_claims", ["kept_until"])
    op.create_index("ix_request_claims_owner", "request_claims", ["tenant", "owner"])


def drop_request_claims() -> None:
    """Undo `create_request_claims`."""
    op.drop_table("request_claims")


def create_fences() -> None:
    """Make the table of fences.py; for the `upgrade` of a version file."""
    op.create_table(
        "fences",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("token", sa.BigInteger(), autoincrement=False, nullable=False),
    )


def drop_fences() -> None:
    """Undo `create_fences`."""
    op.drop_table("fences")


def create_shard_homes() -> None:
    """Make the table of shard_homes.py; for the `upgrade` of a version file."""
    op.create_table(
        "shard_homes",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("peer", sa.String(64), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
    )


def drop_shard_homes() -> None:
    """Undo `create_shard_homes`."""
    op.drop_table("shard_homes")
