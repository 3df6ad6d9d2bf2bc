"""The migrations make what the code declares, and PostgreSQL uses the indexes that were promised by name."""

from pathlib import Path

from sqlalchemy import text

import services.user
from services.kit.database import Database
from services.kit.migrations import upgrade
from services.user.storage.tables import metadata
from tests.support.databases import PostgresOnDemand, new_postgres_database, up_down_up

MIGRATIONS = Path(services.user.__file__).parent / "migrations"


async def test_the_migrations_make_what_the_code_declares(database_url: str) -> None:
    await up_down_up(database_url, MIGRATIONS, metadata)


PROMISED = {
    "idx_users_email": "SELECT * FROM users WHERE tenant = 'default' AND email = 'user7@example.com'",
    "idx_users_username": "SELECT * FROM users WHERE tenant = 'default' AND username_key = 'user7'",
    "idx_users_plan": "SELECT * FROM users WHERE tenant = 'default' AND plan = 'pro'",
    "idx_users_created_at": "SELECT * FROM users WHERE tenant = 'default' ORDER BY created_at DESC LIMIT 20",
}
_MANY_USERS = """
INSERT INTO users (tenant, id, email, username, username_key, display_name, password_hash, role, plan, state,
                   email_verified, phone_verified, created_at, updated_at, revision)
SELECT 'default', 'u' || n, 'user' || n || '@example.com', 'User' || n, 'user' || n, '', 'x', 'FREE',
       CASE WHEN n % 500 = 0 THEN 'pro' ELSE 'free' END, 'ACTIVE', false, false,
       now() - n * interval '1 minute', now(), 1
FROM generate_series(1, 5000) AS n
"""


async def test_postgresql_has_and_uses_the_promised_indexes(postgres: PostgresOnDemand) -> None:
    database = Database(await new_postgres_database(postgres.server()))
    await upgrade(database.url.text, MIGRATIONS)
    async with database.write_session() as session:
        await session.execute(text(_MANY_USERS))
        await session.execute(text("ANALYZE users"))
        names = set((await session.execute(text("SELECT indexname FROM pg_indexes"))).scalars())
        assert names >= set(PROMISED)
        for name, query in PROMISED.items():  # with enough rows the planner chooses them by itself
            plan = "\n".join((await session.execute(text(f"EXPLAIN {query}"))).scalars())
            assert name in plan, plan
        await session.commit()
    await database.close()
