"""Files, uploads, their pieces, the space they take, and objects on their way in or out."""

import sqlalchemy as sa
from alembic import op

from services.kit.types import UtcDateTime

revision = "0004"
down_revision = "0003"


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(64), primary_key=True, nullable=False)


def _bytes(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[sa.DateTime]:
    return sa.Column(name, UtcDateTime(), nullable=nullable)


def upgrade() -> None:
    _create_files()
    _create_uploads()
    _create_objects()


def _create_files() -> None:
    op.create_table(
        "files",
        _key("tenant"),
        _key("user_id"),
        _key("id"),
        sa.Column("filename", sa.String(255), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        _bytes("size_bytes"),
        sa.Column("sha256", sa.String(64), nullable=False),
        _time("created_at"),
        _time("expires_at", nullable=True),
        sa.Column("origin", sa.String(160), nullable=False),
    )
    op.create_index("ix_files_newest", "files", ["tenant", "user_id", "created_at", "id"])
    op.create_index("ix_files_expires_at", "files", ["expires_at"])


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        _key("tenant"),
        _key("user_id"),
        _key("id"),
        sa.Column("filename", sa.String(255), nullable=False),
        _bytes("size_bytes"),
        _bytes("received_bytes"),
        sa.Column("pieces", sa.Integer(), nullable=False),
        _time("created_at"),
        _time("expires_at"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])


def _create_objects() -> None:
    op.create_table(
        "file_pieces",
        _key("tenant"),
        _key("user_id"),
        _key("file_id"),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        _bytes("offset_bytes"),
        _bytes("size_bytes"),
        sa.Column("object", sa.String(255), nullable=False),
        _bytes("skip_bytes"),
    )
    op.create_table(
        "file_space",
        _key("tenant"),
        _key("user_id"),
        _bytes("used_bytes"),
        sa.Column("files", sa.Integer(), nullable=False),
    )
    op.create_table(
        "stray_objects",
        _key("tenant"),
        _key("user_id"),
        sa.Column("object", sa.String(255), primary_key=True, nullable=False),
        _time("due_at"),
        sa.Column("given_up", sa.Boolean(create_constraint=False), nullable=False),
    )
    op.create_index("ix_stray_objects_due_at", "stray_objects", ["given_up", "due_at"])


def downgrade() -> None:
    for table in ("stray_objects", "file_space", "file_pieces", "uploads", "files"):
        op.drop_table(table)
