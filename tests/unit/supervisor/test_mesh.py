"""The life of a mesh: parallel start, restart, stop in stages, nothing left behind. With real processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from shlex import quote

import pytest

from supervisor.mesh import Mesh, StartFailedError
from supervisor.probes import Health
from supervisor.specs import ProcessSpec, Step
from supervisor.supervised import Patience, State
from tests.support.eventually import eventually
from tests.unit.supervisor.workshop import Workshop

QUICK = Patience(starting_interval=0.01, watch_interval=0.02)


@asynccontextmanager
async def running(workshop: Workshop, *specs: ProcessSpec, patience: Patience = QUICK) -> AsyncIterator[Mesh]:
    mesh = Mesh(specs, workshop.around(patience))
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()


async def test_start_returns_when_every_process_is_healthy(workshop: Workshop) -> None:
    async with running(workshop, workshop.spec("one"), workshop.spec("two")) as mesh:
        assert {process.state for process in mesh.processes.values()} == {State.READY}
        assert sorted(workshop.reporter.events) == [("ready", "one"), ("ready", "two")]


async def test_a_process_waits_for_what_it_depends_on(workshop: Workshop) -> None:
    async with running(workshop, workshop.spec("late", depends_on=("early",)), workshop.spec("early")):
        assert [event.split()[0] for event in workshop.events()] == ["early", "late"]


async def test_stop_goes_from_the_last_stage_to_the_first(workshop: Workshop) -> None:
    specs = workshop.spec("state", stage=0), workshop.spec("service", stage=1), workshop.spec("edge", stage=2)
    async with running(workshop, *specs):
        pass
    ended = [event for event in workshop.events() if event.split()[1] != "start"]
    assert ended == ["edge term", "edge end", "service term", "service end", "state term", "state end"]


async def test_a_killed_process_comes_back(workshop: Workshop, is_running: Callable[[int], bool]) -> None:
    async with running(workshop, workshop.spec("one"), workshop.spec("two")) as mesh:
        victim, bystander = mesh.processes["one"], mesh.processes["two"]
        first, other = victim.pid, bystander.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: victim.pid not in (None, first) and victim.ready.is_set())
        assert not is_running(first)
        assert victim.restarts == 1
        assert bystander.pid == other
        assert workshop.reporter.events[2:] == [("died", "one", "killed by SIGKILL"), ("again", "one")]


async def test_a_stubborn_process_is_killed_after_its_grace(
    workshop: Workshop, is_running: Callable[[int], bool]
) -> None:
    async with running(workshop, workshop.spec("mule", "stubborn", grace=0.2)) as mesh:
        pid = mesh.processes["mule"].pid
    assert pid is not None
    assert not is_running(pid)
    assert ("overdue", "mule") in workshop.reporter.events


async def test_hurrying_ends_a_stop_that_waits(workshop: Workshop, is_running: Callable[[int], bool]) -> None:
    mesh = Mesh([workshop.spec("mule", "stubborn", grace=600)], workshop.around())
    await mesh.start()
    pid = mesh.processes["mule"].pid
    stop = asyncio.create_task(mesh.stop())
    await eventually(lambda: "mule term" in workshop.events())
    mesh.hurry()
    async with asyncio.timeout(5):
        await stop
    assert pid is not None
    assert not is_running(pid)


async def test_a_process_that_never_starts_ends_the_start_with_its_last_words(workshop: Workshop) -> None:
    with pytest.raises(StartFailedError, match="bad does not start") as caught:
        async with running(workshop, workshop.spec("bad", "broken"), workshop.spec("good")):
            pytest.fail("it must not come this far")
    assert caught.value.tail[-1] == "it is broken: no such thing"
    assert workshop.events()[-1] == "good end"


async def test_a_program_that_does_not_exist_is_named(workshop: Workshop) -> None:
    spec = ProcessSpec("ghost", ("./no-such-program",), workshop.spec("ghost").probe, "nowhere", 0)
    with pytest.raises(StartFailedError) as caught:
        async with running(workshop, spec):
            pytest.fail("it must not come this far")
    assert caught.value.tail[-1] == "cannot start ./no-such-program: No such file or directory"


async def test_wrong_settings_are_not_tried_again(workshop: Workshop) -> None:
    spec = workshop.spec("user")
    wrong = ProcessSpec("user", ("/bin/sh", "-c", "echo user: PORT: not a number; exit 2"), spec.probe, "nowhere", 0)
    with pytest.raises(StartFailedError) as caught:
        async with running(workshop, wrong):
            pytest.fail("it must not come this far")
    assert caught.value.tail == ["user: PORT: not a number"]
    assert [event for event in workshop.reporter.events if event[0] == "died"] == []


async def test_a_process_that_keeps_dying_is_reported_once_with_its_last_words(workshop: Workshop) -> None:
    async with running(workshop, workshop.spec("one", "dying")):
        await eventually(lambda: any(event[0] == "failing" for event in workshop.reporter.events), timeout=15)
        reports = [event for event in workshop.reporter.events if event[0] == "failing"]
        assert reports == [("failing", "one", "it is dying")]


async def test_a_hung_process_is_killed_and_started_again(workshop: Workshop) -> None:
    patience = Patience(silence=0.1, starting_interval=0.01, watch_interval=0.02)
    async with running(workshop, workshop.spec("one"), patience=patience) as mesh:
        process = mesh.processes["one"]
        first = process.pid
        workshop.answers["one"] = Health.UNREACHABLE
        await eventually(lambda: process.pid != first)
        del workshop.answers["one"]
        await eventually(process.ready.is_set)
        assert process.restarts == 1


async def test_a_process_that_says_it_cannot_serve_is_shown_and_left_alone(workshop: Workshop) -> None:
    patience = Patience(silence=0.05, starting_interval=0.01, watch_interval=0.01)
    async with running(workshop, workshop.spec("one"), patience=patience) as mesh:
        process = mesh.processes["one"]
        pid = process.pid
        workshop.answers["one"] = Health.UNHEALTHY
        await eventually(lambda: process.state is State.UNHEALTHY)
        del workshop.answers["one"]
        await eventually(lambda: process.state is State.READY)
        assert process.pid == pid


async def test_a_process_that_never_becomes_healthy_is_killed(workshop: Workshop) -> None:
    workshop.answers["one"] = Health.UNHEALTHY
    patience = Patience(start=0.05, starting_interval=0.01)
    with pytest.raises(StartFailedError, match="one does not start"):
        async with running(workshop, workshop.spec("one"), patience=patience):
            pytest.fail("it must not come this far")
    assert ("unhealthy", "one", "not healthy within 0 s, killed") in workshop.reporter.events


async def test_steps_come_before_the_process_and_only_when_needed(workshop: Workshop) -> None:
    mark = Step("mark", ("/bin/sh", "-c", "echo step run >> events"))
    unneeded = Step("unneeded", ("/bin/false",), needed=lambda: False)
    spec = workshop.spec("one")
    with_steps = ProcessSpec(spec.name, spec.argv, spec.probe, "nowhere", 0, steps=(unneeded, mark))
    async with running(workshop, with_steps):
        assert [event.split()[0] for event in workshop.events()] == ["step", "one"]


async def test_a_step_that_fails_ends_the_start(workshop: Workshop) -> None:
    spec = workshop.spec("one")
    step = Step("migrate one", ("/bin/sh", "-c", "echo the disk is full; exit 4"))
    failing = ProcessSpec(spec.name, spec.argv, spec.probe, "nowhere", 0, steps=(step,))
    with pytest.raises(StartFailedError, match="migrate one: exited with status 4") as caught:
        async with running(workshop, failing):
            pytest.fail("it must not come this far")
    assert caught.value.tail == ["the disk is full"]
    assert workshop.events() == []


async def test_what_a_process_started_ends_with_it(workshop: Workshop, is_running: Callable[[int], bool]) -> None:
    spec = workshop.spec("parent")
    python, folder = quote(spec.argv[0]), quote(str(workshop.folder))
    shell = f'sleep 1000 & echo $! > child; exec {python} -I -S -c "$PROGRAM" parent {folder} good'
    with_child = ProcessSpec(
        "parent", ("/bin/sh", "-c", shell), spec.probe, "nowhere", 0, env={"PROGRAM": spec.argv[4]}
    )
    async with running(workshop, with_child):
        child = int((workshop.folder / "child").read_text())
        assert is_running(child)
    await eventually(lambda: not is_running(child))


async def test_the_readable_end_of_a_signal_is_its_name(workshop: Workshop) -> None:
    async with running(workshop, workshop.spec("one")) as mesh:
        pid = mesh.processes["one"].pid
        assert pid is not None
        os.kill(pid, signal.SIGSEGV)
        await eventually(lambda: ("died", "one", "killed by SIGSEGV") in workshop.reporter.events)
