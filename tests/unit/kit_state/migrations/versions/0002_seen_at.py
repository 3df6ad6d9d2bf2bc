"""A column that batch mode has to copy the table for, on SQLite."""

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table(
        "accounts", recreate="always" if op.get_bind().dialect.name == "sqlite" else "auto"
    ) as batch:
        batch.add_column(sa.Column("seen_at", UtcDateTime(), nullable=True))
        batch.create_check_constraint("balance_is_known", "balance IS NOT NULL")


def downgrade() -> None:
    with op.batch_alter_table("accounts") as batch:
        batch.drop_constraint("balance_is_known", type_="check")
        batch.drop_column("seen_at")
