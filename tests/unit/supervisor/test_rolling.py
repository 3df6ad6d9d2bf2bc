"""Rolling restarts: one after the other, never while the other is missing, and given up without harm."""

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.datadir import DataDir, DataDirLock
from supervisor.mesh import Mesh
from supervisor.probes import Health
from supervisor.restart import restart
from supervisor.rolling import Balanced, RollingRestart, RollState, in_gateways
from supervisor.specs import Drain, GrpcHealth, ProcessSpec, Step
from supervisor.supervised import Patience, State
from tests.support.eventually import eventually
from tests.unit.supervisor.workshop import Workshop

QUICK = Patience(start=20, starting_interval=0.01, watch_interval=0.02)


def pair(workshop: Workshop, *steps: Step) -> list[ProcessSpec]:
    """Return two replicas of one service, the first with steps, and one process that holds state."""
    spec = replace(workshop.spec("user"), group="user", renewable=True, steps=steps)
    second = replace(workshop.spec("user-2"), group="user", renewable=True)
    return [workshop.spec("redis"), spec, second]


@asynccontextmanager
async def running(workshop: Workshop, *specs: ProcessSpec, patience: Patience = QUICK) -> AsyncIterator[Mesh]:
    mesh = Mesh(specs, workshop.around(patience))
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()


async def at_once(_: ProcessSpec) -> bool:
    return True


def rolling(mesh: Mesh, balanced: Balanced = at_once, seen_seconds: float = 5.0) -> RollingRestart:
    return RollingRestart(mesh, balanced, seen_seconds=seen_seconds, reconnect_seconds=0)


def pids(mesh: Mesh) -> dict[str, int | None]:
    return {name: process.pid for name, process in mesh.processes.items()}


async def test_each_ends_after_the_one_before_is_back(workshop: Workshop) -> None:
    async with running(workshop, *pair(workshop)) as mesh:
        before = pids(mesh)
        done = len(workshop.events())
        roll = rolling(mesh)
        assert await roll.run()
        assert roll.status.state == RollState.DONE.value
        assert roll.status.number == 1
        after = pids(mesh)
        assert {name for name in before if before[name] == after[name]} == {"redis"}
        happened = [" ".join(event.split()[:2]) for event in workshop.events()[done:]]
        first = ["user term", "user end", "user start"]
        assert happened == first + [event.replace("user", "user-2") for event in first]
        assert {process.state for process in mesh.processes.values()} == {State.READY}
        assert [process.restarts for process in mesh.processes.values()] == [0, 0, 0]
        assert [event for event in workshop.reporter.events if event[0] == "died"] == []


async def test_nothing_ends_while_its_stand_in_is_not_well(workshop: Workshop) -> None:
    async with running(workshop, *pair(workshop)) as mesh:
        before = pids(mesh)
        workshop.answers["user-2"] = Health.UNHEALTHY
        await eventually(lambda: mesh.processes["user-2"].state is State.UNHEALTHY)
        roll = rolling(mesh)
        assert not await roll.run()
        assert roll.status.state == RollState.FAILED.value
        assert "user-2 is unhealthy" in roll.status.failure
        assert pids(mesh) == before


async def test_one_that_does_not_come_back_ends_the_restart(workshop: Workshop) -> None:
    patience = replace(QUICK, start=4)  # long enough for the first start on a busy machine
    async with running(workshop, *pair(workshop), patience=patience) as mesh:
        other = mesh.processes["user-2"].pid
        workshop.answers["user"] = Health.UNREACHABLE
        roll = rolling(mesh)
        assert not await roll.run()
        assert "user is not healthy again" in roll.status.failure
        assert mesh.processes["user-2"].pid == other


async def test_a_step_that_fails_ends_nothing(workshop: Workshop) -> None:
    bad = Step("migrate user", ("/bin/sh", "-c", "test ! -e user.ready"))
    async with running(workshop, *pair(workshop, bad)) as mesh:
        before = pids(mesh)
        roll = rolling(mesh)
        assert not await roll.run()
        assert "migrate user" in roll.status.failure
        assert pids(mesh) == before


async def test_the_next_one_waits_until_the_gateway_uses_the_one_before(workshop: Workshop) -> None:
    used = asyncio.Event()

    async def balanced(_: ProcessSpec) -> bool:
        return used.is_set()

    async with running(workshop, *pair(workshop)) as mesh:
        other = mesh.processes["user-2"].pid
        first = mesh.processes["user"].pid
        task = asyncio.create_task(rolling(mesh, balanced).run())
        process = mesh.processes["user"]
        await eventually(lambda: process.pid not in (None, first) and process.ready.is_set())
        assert mesh.processes["user-2"].pid == other
        used.set()
        assert await task
        assert mesh.processes["user-2"].pid != other


async def test_one_that_the_gateway_never_uses_ends_the_restart(workshop: Workshop) -> None:
    async def never(_: ProcessSpec) -> bool:
        return False

    async with running(workshop, *pair(workshop)) as mesh:
        roll = rolling(mesh, never, seen_seconds=0.05)
        assert not await roll.run()
        assert "the gateway does not use it" in roll.status.failure


async def test_a_death_after_a_restart_counts_as_one(workshop: Workshop) -> None:
    async with running(workshop, *pair(workshop)) as mesh:
        assert await rolling(mesh).run()
        process = mesh.processes["user"]
        pid = process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: process.pid not in (None, pid) and process.ready.is_set())
        assert process.restarts == 1
        assert ("died", "user", "killed by SIGKILL") in workshop.reporter.events


async def test_a_stop_in_the_middle_ends_everything(workshop: Workshop) -> None:
    async def never(_: ProcessSpec) -> bool:
        return False

    async with running(workshop, *pair(workshop)) as mesh:
        first = mesh.processes["user"].pid
        task = asyncio.create_task(rolling(mesh, never, seen_seconds=600).run())
        await eventually(lambda: mesh.processes["user"].pid not in (None, first))
        task.cancel()
        await asyncio.wait({task})
    assert {process.state for process in mesh.processes.values()} == {State.STOPPED}


async def test_the_gateways_word_on_a_host() -> None:
    page = (
        b"user::127.0.0.1:8090::health_flags::healthy\n"
        b"user::127.0.0.1:8082::health_flags::/failed_active_hc\n"
        b"user::127.0.0.1:8082::cx_active::1\n"
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + page)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        envoy = ProcessSpec("envoy", (), GrpcHealth(1), "", 3, drain=Drain(port, "x"))
        balanced = in_gateways([envoy])
        assert await balanced(_server("user", 8090))
        assert not await balanced(_server("user", 8082))
        assert await balanced(_server("no route", 1))
    assert not await balanced(_server("user", 8090))


def _server(group: str, port: int) -> ProcessSpec:
    return ProcessSpec(group, (), GrpcHealth(port), f"127.0.0.1:{port}", 2, group=group)


def test_the_command_without_a_mesh_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = DataDir(tmp_path)
    assert restart(data, io.StringIO()) == 1
    assert "no mesh runs" in capsys.readouterr().err
    data.prepare()
    with DataDirLock(data):
        assert restart(data, io.StringIO()) == 1


def test_an_older_supervisor_is_not_sent_a_signal_that_would_end_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = DataDir(tmp_path)
    data.prepare()
    old = {"pid": os.getpid(), "state": "ready", "port_base": 8080, "processes": []}
    data.status_file.write_text(json.dumps(old))
    with DataDirLock(data):
        assert restart(data, io.StringIO()) == 1
    assert "older version" in capsys.readouterr().err
