"""The migrations make what the code declares, and PostgreSQL uses the indexes that were promised by name."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import bindparam, insert, text

import services.user
from services.kit.database import Database
from services.kit.migrations import downgrade, upgrade
from services.kit.paging import PageRequest
from services.kit.types import UtcDateTime
from services.kit.uow_sql import SqlUnits
from services.user.domain.accounts import UserSearch
from services.user.domain.audit import Action, Entry, Event, Outcome, seal_of
from services.user.storage.tables import AUDIT_HEADS, metadata
from services.user.storage.transaction import SqlUserTx
from services.user.usecases.auditing import verify_chains
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


_OLD_USER = """
INSERT INTO users (tenant, id, email, username, username_key, display_name, password_hash, role, plan, state,
                   email_verified, phone_verified, created_at, updated_at, revision)
VALUES ('default', :id, :email, :username, :key, :name, :hash, 'FREE', 'free', 'ACTIVE', :no, :no, :now, :now, 1)
"""
_OLD_ENTRY = """
INSERT INTO audit_entries (tenant, seq, time, action, outcome, actor, target, session, details, previous, seal)
VALUES ('default', 1, :now, 'user.registered', 'allowed', 'a', 'a', '', '{}', :previous, :seal)
"""


async def test_what_was_there_is_searched_and_verified_like_what_is_new(database_url: str) -> None:
    await upgrade(database_url, MIGRATIONS)
    await downgrade(database_url, MIGRATIONS, "0002")
    database, now = Database(database_url), datetime(2026, 1, 1, tzinfo=UTC)
    old = Entry("default", 1, now, "user.registered", "allowed", "a", "a", "", "{}", bytes(32), b"", format=1)
    async with database.write_session() as session:
        for number in range(3):
            who = {
                "id": f"u{number}",
                "email": f"Ü{number}@example.com",
                "username": f"Ada{number}",
                "key": f"ada{number}",
            }
            values = {**who, "name": "Straße", "hash": b"x", "no": False, "now": now}
            await session.execute(text(_OLD_USER).bindparams(bindparam("now", type_=UtcDateTime())), values)
        sealed = {"now": now, "previous": old.previous, "seal": seal_of(old)}
        await session.execute(text(_OLD_ENTRY).bindparams(bindparam("now", type_=UtcDateTime())), sealed)
        await session.execute(insert(AUDIT_HEADS).values(tenant="default", seq=1, seal=seal_of(old)))
        await session.commit()
    await database.close()
    await upgrade(database_url, MIGRATIONS)
    database = Database(database_url)
    units = SqlUnits(database, SqlUserTx)
    async with units.read() as tx:
        for query in ("ü2@EXAMPLE", "ADA2", "strasse"):
            found = await tx.users.search("default", UserSearch(query=query), PageRequest())
            assert "u2" in {user.id for user in found.items}, query
    async with units.write() as tx:
        await tx.audit.append(Event("default", now, Action.USER_ERASED, Outcome.ALLOWED))
    assert [report.broken async for report in verify_chains(units)] == [None]
    await database.close()


_MANY_ENTRIES = """
INSERT INTO audit_entries (tenant, seq, time, action, outcome, actor, target, session, details, previous, seal,
                           method, resource, peer, trace_id, format)
SELECT 'default', n, now() + n * interval '1 second', 'login.succeeded', 'allowed', 'a' || n % 500, 't' || n % 500, '',
       '{}', 'x', 'x', 'm', 'r' || n % 500, '', '', 2
FROM generate_series(1, 20000) AS n
"""
_EXPLAIN = "EXPLAIN SELECT * FROM audit_entries WHERE tenant = 'default' AND"
_NEWEST_FIRST = "ORDER BY seq DESC LIMIT 51"
_SEARCHES = {
    "ix_audit_entries_actor": "actor = 'a7'",
    "ix_audit_entries_target": "target = 't7'",
    "ix_audit_entries_resource": "resource = 'r7'",
}


async def test_postgresql_searches_the_audit_log_by_its_indexes(postgres: PostgresOnDemand) -> None:
    database = Database(await new_postgres_database(postgres.server()))
    await upgrade(database.url.text, MIGRATIONS)
    async with database.write_session() as session:
        await session.execute(text(_MANY_ENTRIES))
        await session.execute(text("ANALYZE audit_entries"))
        for name, condition in _SEARCHES.items():
            plan = "\n".join((await session.execute(text(f"{_EXPLAIN} {condition} {_NEWEST_FIRST}"))).scalars())
            assert name in plan, plan
        latest = "SELECT seq FROM audit_entries WHERE tenant = 'default' AND time < now() ORDER BY time DESC LIMIT 1"
        plan = "\n".join((await session.execute(text(f"EXPLAIN {latest}"))).scalars())
        assert "ix_audit_entries_time" in plan, plan
        await session.commit()
    await database.close()
