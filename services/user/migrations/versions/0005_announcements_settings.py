"""Announcements, and the settings that admins change while the system runs."""

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime

revision = "0005"
down_revision = "0004"


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), primary_key=True, nullable=False)


def upgrade() -> None:
    op.create_table(
        "announcements",
        _key("tenant"),
        _key("id"),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("severity", sa.SmallInteger(), nullable=False),
        sa.Column("start_at", UtcDateTime(), nullable=True),
        sa.Column("end_at", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
    )
    op.create_index("ix_announcements_newest", "announcements", ["tenant", "created_at", "id"])
    op.create_index("ix_announcements_shown", "announcements", ["tenant", "severity", "created_at", "id"])
    op.create_table(
        "system_configs",
        _key("tenant"),
        _key("config"),
        sa.Column("version", sa.Integer(), nullable=False),
    )
    op.create_table(
        "system_config_versions",
        _key("tenant"),
        _key("config"),
        sa.Column("version", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
    )


def downgrade() -> None:
    for table in ("system_config_versions", "system_configs", "announcements"):
        op.drop_table(table)
