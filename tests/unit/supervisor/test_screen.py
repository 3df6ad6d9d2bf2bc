"""What people and machines are shown: the terminal, the status, the Prometheus page."""

import asyncio
import io
import json
import os
import shlex
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.kit.clock import ManualClock
from supervisor.datadir import DataDir, DataDirLock
from supervisor.mesh import Mesh
from supervisor.metrics import Metric, MetricsPage, Sample, exposition
from supervisor.ports import find_free_base
from supervisor.quiet import Quiet, Verdict
from supervisor.screen import Screen, requests_to_paste
from supervisor.settings import SupervisorSettings
from supervisor.status import MeshState, StatusFile, read_status, show_status
from tests.unit.supervisor.workshop import Workshop


@pytest.fixture
def settings(tmp_path: Path) -> SupervisorSettings:
    return SupervisorSettings.read({"CANDELA_DATA_DIR": str(tmp_path / "data"), "CANDELA_PORT_BASE": "18080"})


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def screen(settings: SupervisorSettings, out: io.StringIO) -> Screen:
    return Screen(settings, out)


def test_what_is_no_terminal_gets_no_colours(screen: Screen, out: io.StringIO, workshop: Workshop) -> None:
    screen.header()
    screen.ready(workshop.spec("user"), 1.25, restarted=False)
    screen.welcome(3.0)
    assert "\x1b" not in out.getvalue()
    assert "user           nowhere              1.2 s\n" in out.getvalue()
    assert "Ready in 3.0 s" in out.getvalue()


def test_a_warning_is_shown_once_and_not_while_stopping(screen: Screen, out: io.StringIO, workshop: Workshop) -> None:
    spec = workshop.spec("user")
    for _ in range(3):
        screen.warning(spec, "WARNING", "low on tea\nand a second line")
    assert out.getvalue() == "  ! user           warning low on tea\n"
    screen.stopping(["user"])
    screen.warning(spec, "ERROR", "too late")
    assert "too late" not in out.getvalue()


def test_a_terminal_that_is_gone_does_not_end_the_mesh(settings: SupervisorSettings) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        screen = Screen(settings, pipe)
        screen.header()
        screen.stopped()


def test_the_three_requests_use_this_mesh_and_are_valid_shell(settings: SupervisorSettings) -> None:
    titles, commands = zip(*requests_to_paste(settings), strict=True)
    assert titles == ("register", "log in", "recognise a page")
    for command in commands:
        assert "http://127.0.0.1:18080/v1/" in command
        assert shlex.split(command.replace("\\\n", " "))
    words = shlex.split(commands[0].replace("\\\n", " "))
    assert json.loads(words[words.index("-d") + 1])["username"] == "ada"
    assert str(settings.data.sample_page) in commands[2]


def test_an_edge_with_a_certificate_is_shown_with_its_address(tmp_path: Path) -> None:
    environment = {"CANDELA_GATEWAY_HOST": "::", "CANDELA_GATEWAY_TLS_CERT": "edge.pem"}
    settings = SupervisorSettings.read({"CANDELA_DATA_DIR": str(tmp_path), **environment})
    assert "https://[::1]:8080/v1/users" in requests_to_paste(settings)[0][1]


def test_a_flood_of_warnings_is_cut() -> None:
    clock = ManualClock()
    quiet = Quiet(clock)
    verdicts = [quiet.judge("user", f"warning {number}") for number in range(8)]
    assert verdicts == [Verdict.SHOW] * 5 + [Verdict.LAST] + [Verdict.DROP] * 2
    assert quiet.judge("envoy", "warning 0") is Verdict.SHOW
    clock.advance(10)
    assert quiet.judge("user", "warning 7") is Verdict.SHOW


def test_the_same_warning_is_shown_once_a_minute() -> None:
    clock = ManualClock()
    quiet = Quiet(clock)
    assert quiet.judge("user", "again") is Verdict.SHOW
    clock.advance(59)
    assert quiet.judge("user", "again") is Verdict.DROP
    clock.advance(1)
    assert quiet.judge("user", "again") is Verdict.SHOW


async def test_the_status_is_there_while_a_supervisor_holds_the_directory(
    settings: SupervisorSettings, workshop: Workshop, out: io.StringIO
) -> None:
    data = settings.data
    data.prepare()
    mesh = Mesh([workshop.spec("user")], workshop.around())
    await mesh.start()
    try:
        file = StatusFile(settings)
        file.write(MeshState.READY, mesh)
        assert read_status(data) is None
        with DataDirLock(data):
            status = read_status(data)
            assert status is not None
            assert (status.pid, status.state, status.port_base) == (os.getpid(), "ready", 18080)
            assert [(p.name, p.pid, p.state) for p in status.processes] == [
                ("user", mesh.processes["user"].pid, "ready")
            ]
            assert show_status(data, out) == 0
    finally:
        await mesh.stop()
    words = out.getvalue().splitlines()[4].split()
    assert words[:4] == ["user", str(status.processes[0].pid), "ready", "0"]
    assert float(words[-2]) > 0.5


async def test_the_status_file_is_written_only_when_something_changed(
    settings: SupervisorSettings, workshop: Workshop
) -> None:
    settings.data.prepare()
    path = settings.data.status_file
    mesh = Mesh([workshop.spec("user")], workshop.around())
    file = StatusFile(settings)
    file.write(MeshState.STARTING, mesh)
    path.unlink()
    file.write(MeshState.STARTING, mesh)
    assert not path.exists()
    file.write(MeshState.STOPPING, mesh)
    assert path.exists()
    file.remove()
    assert not path.exists()
    await mesh.stop()


def test_without_a_mesh_the_status_says_so(tmp_path: Path, out: io.StringIO) -> None:
    assert show_status(DataDir(tmp_path), out) == 1
    assert out.getvalue() == f"no mesh runs on {tmp_path}\n"


def test_the_exposition_is_what_prometheus_reads() -> None:
    odd = 'a "b" \\ \n c'
    text = exposition(
        [Metric("up", "gauge", "Is it?", (Sample(1, (("process", odd),)), Sample(0, (("process", "x"),))))]
    )
    (family,) = text_string_to_metric_families(text)
    assert family.documentation == "Is it?"
    assert [(sample.labels["process"], sample.value) for sample in family.samples] == [(odd, 1.0), ("x", 0.0)]


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"404"),
        (b"x" * 100_000, b""),
    ],
)
async def test_the_page_answers_and_bounds_what_it_reads(request_text: bytes, status: bytes) -> None:
    port = find_free_base(23080)
    page = MetricsPage(port, lambda: [Metric("up", "gauge", "Is it?", (Sample(1),))])
    await page.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_text)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        writer.close()
        assert answer[9:12] == status
    finally:
        await page.stop()
