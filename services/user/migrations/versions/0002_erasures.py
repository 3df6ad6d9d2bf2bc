"""Who was erased, for the services that keep data of users."""

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("erased_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_erasures_newest", "erasures", ["erased_at", "user_id"])


def downgrade() -> None:
    op.drop_table("erasures")
