"""The mesh on a MariaDB of one's own, recognition spread over two databases: nothing is lost, not by a move either."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest

from services.kit.database_url import DatabaseUrl
from services.kit.shard_map import ShardMap, User
from supervisor.doctor import Mark, check_databases
from supervisor.settings import SupervisorSettings
from tests.support.databases import MariaDbOnDemand, new_mariadb_database
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

pytestmark = pytest.mark.timeout(300)
_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def databases(mariadb: MariaDbOnDemand) -> dict[str, str]:
    """The settings: one database for users, two for their documents."""
    server = mariadb.server()
    user, one, two = (asyncio.run(new_mariadb_database(server)) for _ in range(3))
    shards = f"one 0-2047 {one}; two 2048-4095 {two}"
    return {"CANDELA_USER_DATABASE_URL": user, "CANDELA_RECOGNITION_SHARDS": shards}


@pytest.fixture(scope="module")
def mesh(databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh on MariaDB."""
    with Mesh.started(tmp_path_factory.mktemp("mariadb"), databases) as running:
        yield running


def test_no_sqlite_file_is_made_and_the_doctor_knocks_at_the_server(mesh: Mesh, databases: dict[str, str]) -> None:
    assert works(mesh)
    assert list(mesh.data.db.iterdir()) == []
    settings = SupervisorSettings.read({"CANDELA_DATA_DIR": str(mesh.data.root), **databases})
    found = list(check_databases(settings))
    assert {finding.mark for finding in found} == {Mark.OK}
    assert any("MariaDB" in finding.detail for finding in found)


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


def test_a_user_moves_to_the_other_database_while_documents_come_in(mesh: Mesh, databases: dict[str, str]) -> None:
    with Edge(mesh.edge) as ada:
        ada.sign_up()
        user = ada.call("GET", "/v1/users/me").json()["name"].removeprefix("users/")
        home = ShardMap.parse(databases["CANDELA_RECOGNITION_SHARDS"]).default_of(User("default", user))
        acknowledged: list[str] = []
        with at_work(recognise_into(mesh, ada.token, acknowledged)):
            for target in ({"one": "two", "two": "one"}[home], home):
                wait_for_more(acknowledged)
                said = _move(mesh, databases, user, target)
                assert f"to {target}" in said
            wait_for_more(acknowledged)
        assert_history_is(ada, acknowledged)


def _move(mesh: Mesh, databases: dict[str, str], user: str, target: str) -> str:
    password = (mesh.data.keys / "redis.password").read_text().strip()
    environment = {
        **os.environ, **databases,
        "CANDELA_DATA_DIR": str(mesh.data.root),
        "CANDELA_REDIS_URL": f"redis://:{quote(password)}@127.0.0.1:{mesh.ports.redis}/0",
    }  # fmt: skip
    command = [sys.executable, "-m", "services.recognition.main", "move", "default", user, target]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=_REPOSITORY, env=environment).stdout


def test_connections_that_the_database_cuts_are_made_anew(mesh: Mesh, mariadb: MariaDbOnDemand) -> None:
    acknowledged: list[str] = []
    with at_work(register_into(mesh, acknowledged)):
        for _ in range(3):
            wait_for_more(acknowledged)
            assert _cut_connections(mariadb.server().url()) > 0
        wait_for_more(acknowledged)
    assert_all_can_log_in(mesh, acknowledged)


def _cut_connections(url: str) -> int:
    """End every connection but our own, as a restart of the server does; return how many there were."""
    with closing(pymysql.connect(**DatabaseUrl(url).mariadb_arguments)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND db LIKE 'test%'")
        others = cursor.fetchall()
        for (process,) in others:
            cursor.execute(f"KILL CONNECTION {int(process)}")
    return len(others)
