"""The mesh on a PostgreSQL of one's own: nothing is lost there either, also when the database itself goes away."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from services.kit.database_url import DatabaseUrl
from supervisor.doctor import Mark, check_databases
from supervisor.settings import SupervisorSettings
from tests.support.databases import PostgresOnDemand, new_postgres_database, postgres
from tests.support.edge import Edge
from tests.support.load import (
    assert_all_can_log_in,
    assert_history_is,
    at_work,
    kill_while,
    recognise_into,
    register_into,
    wait_for_more,
)
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import works

__all__ = ["postgres"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def databases(postgres: PostgresOnDemand) -> dict[str, str]:
    """The settings that put each service on a database of its own."""
    server = postgres.server()
    names = ("CANDELA_USER_DATABASE_URL", "CANDELA_RECOGNITION_DATABASE_URL")
    return {name: asyncio.run(new_postgres_database(server)) for name in names}


@pytest.fixture(scope="module")
def mesh(databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh on PostgreSQL."""
    with Mesh.started(tmp_path_factory.mktemp("postgres"), databases) as running:
        yield running


def test_no_sqlite_file_is_made_and_the_doctor_knocks_at_the_server(mesh: Mesh, databases: dict[str, str]) -> None:
    assert works(mesh)
    assert list(mesh.data.db.iterdir()) == []
    settings = SupervisorSettings.read({"CANDELA_DATA_DIR": str(mesh.data.root), **databases})
    assert {finding.mark for finding in check_databases(settings)} == {Mark.OK}


@pytest.mark.parametrize("name", ["user", "recognition"])
def test_nothing_is_lost_or_made_twice_when_a_service_is_killed(mesh: Mesh, name: str) -> None:
    with Edge(mesh.edge) as ada:
        ada.sign_up()
        acknowledged: list[str] = []
        work = {"user": register_into(mesh, acknowledged), "recognition": recognise_into(mesh, ada.token, acknowledged)}
        with at_work(work[name]):
            kill_while(mesh, name, acknowledged)
        if name == "user":
            assert_all_can_log_in(mesh, acknowledged)
        else:
            assert_history_is(ada, acknowledged)


def test_connections_that_the_database_cuts_are_made_anew(mesh: Mesh, postgres: PostgresOnDemand) -> None:
    acknowledged: list[str] = []
    with at_work(register_into(mesh, acknowledged)):
        for _ in range(3):
            wait_for_more(acknowledged)
            assert asyncio.run(_cut_connections(DatabaseUrl(postgres.server().url()).dsn)) > 0
        wait_for_more(acknowledged)
    assert_all_can_log_in(mesh, acknowledged)


async def _cut_connections(dsn: str) -> int:
    """End every connection but our own, as a restart of the server does; return how many there were."""
    connection = await asyncpg.connect(dsn)
    try:
        cut = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname <> ''"
        )
        return len(cut)
    finally:
        await connection.close()
