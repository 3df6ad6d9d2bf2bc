"""The user service's database: SQLAlchemy adapters of its ports."""
