"""The history of recognitions and the claimed request ids."""

import sqlalchemy as sa
from alembic import op

from services.kit.migrations_tables import create_request_claims, drop_request_claims
from services.kit.types import Json, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "recognitions",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("page_count", sa.Integer(), nullable=False),
        sa.Column("models", Json, nullable=False),
        sa.Column("processing_us", sa.BigInteger(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
    )
    op.create_index("ix_recognitions_newest", "recognitions", ["tenant", "user_id", "create_time", "id"])
    create_request_claims()


def downgrade() -> None:
    """Drop the tables."""
    drop_request_claims()
    op.drop_table("recognitions")
