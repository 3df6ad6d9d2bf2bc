"""Where a user's rows are, when users are spread over several databases."""

from services.kit.migrations_tables import create_shard_homes, drop_shard_homes

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    create_shard_homes()


def downgrade() -> None:
    """Drop the table."""
    drop_shard_homes()
