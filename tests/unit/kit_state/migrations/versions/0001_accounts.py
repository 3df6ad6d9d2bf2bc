"""Accounts, entries that point at them, and the kit's table."""

import sqlalchemy as sa
from alembic import op

from services.kit.migrations_tables import create_request_claims, drop_request_claims
from services.kit.types import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_request_claims()
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("balance", sa.Integer(), nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("account", sa.String(64), sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
        sa.Column("made_at", UtcDateTime(), nullable=True),
    )


def downgrade() -> None:
    op.drop_table("entries")
    op.drop_table("accounts")
    drop_request_claims()
