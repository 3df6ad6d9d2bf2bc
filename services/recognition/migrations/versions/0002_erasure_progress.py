"""How far the list of erased users was followed."""

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "erasure_progress",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("followed_until", UtcDateTime(), nullable=False),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("erasure_progress")
