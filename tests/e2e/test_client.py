"""The Python client against a real mesh: what it does in one go, settings that admins change, announcements."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import candela
from candela.user.v1 import announcement_pb2
from tests.support.edge import new_email
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page

PASSWORD = "correct horse battery"
CLOSED = "systemConfigs/recognition-closed"


def signed_in(mesh: Mesh, *, admin: bool = False) -> candela.Client:
    client = candela.Client(mesh.target)
    email = new_email()
    client.register(email=email, password=PASSWORD)
    if admin:
        subprocess.run(
            [sys.executable, "-m", "services.user.main", "make-admin", email],
            env={**os.environ, "CANDELA_DATA_DIR": str(mesh.data.root), "CANDELA_PORT_BASE": str(mesh.ports.base)},
            check=True,
            capture_output=True,
        )
    client.login(email, PASSWORD)
    return client


@pytest.fixture
def ada(mesh: Mesh) -> Iterator[candela.Client]:
    with signed_in(mesh) as client:
        yield client


@pytest.fixture
def admin(mesh: Mesh) -> Iterator[candela.Client]:
    with signed_in(mesh, admin=True) as client:
        yield client


def test_a_large_file_goes_up_in_pieces_and_comes_back(ada: candela.Client, tmp_path: Path) -> None:
    content = os.urandom(1024) * 9 * 1024 + b"the end"
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    told: list[int] = []
    file = ada.files.upload(path, progress=lambda at: told.append(at.done))
    assert (file.size_bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert told == [0, 4 * 2**20, 8 * 2**20, len(content)]
    ada.files.download(file.name, tmp_path / "copy.bin")
    assert (tmp_path / "copy.bin").read_bytes() == content
    part = b"".join(body.data for body in ada.files.read(file.name, offset=len(content) - 7))
    assert part == b"the end"
    assert [one.name for one in ada.files.list()] == [file.name]
    ada.files.delete(file.name)
    with pytest.raises(candela.NotFound):
        ada.files.get(file.name)


async def test_the_same_without_blocking(ada: candela.Client, mesh: Mesh, tmp_path: Path) -> None:
    async with candela.AsyncClient(mesh.target, tokens=ada.tokens) as client:
        file = await client.files.upload(png(print_page(["Lighthouse"])), "page.png")
        recognition = await client.documents.recognize(file=file.name)
        assert recognition.document.text == "Lighthouse\n"
        await client.files.download(file.name, tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size == file.size_bytes
        assert [one.name async for one in client.recognitions.list()] == [recognition.name]


def test_a_key_is_for_programs(ada: candela.Client, mesh: Mesh) -> None:
    end = datetime.now(UTC) + timedelta(days=1)
    grant = ada.api_keys.create("nightly", ["RECOGNITION"], expire_time=end)
    changed = ada.api_keys.update(grant.api_key.name, display_name="hourly", etag=grant.api_key.etag)
    assert changed.display_name == "hourly"
    with candela.Client(mesh.target, api_key=grant.secret) as program:
        assert not list(program.recognitions.list())
        with pytest.raises(candela.PermissionDenied):
            program.users.me()


def test_a_setting_counts_in_another_process(admin: candela.Client, ada: candela.Client) -> None:
    page = png(print_page(["Lighthouse"]))
    assert ada.documents.recognize(page).document.text == "Lighthouse\n"

    def refused() -> bool:
        try:
            ada.documents.recognize(page)
        except candela.FailedPrecondition as error:
            return error.message == "back at noon"
        return False

    closed = admin.system_configs.update(CLOSED, text="back at noon")
    try:
        eventually_sync(refused)
        assert closed.update_user == admin.users.me().name
        events = [event.resource for event in admin.audit_events.list(resource=CLOSED, page_size=10)]
        assert CLOSED in events
    finally:
        admin.system_configs.update(CLOSED, text="")
    eventually_sync(lambda: not refused())
    assert [one.text for one in admin.system_configs.list_versions(CLOSED)][:2] == ["", "back at noon"]
    with pytest.raises(candela.PermissionDenied):
        ada.system_configs.update(CLOSED, text="mine")


def test_everybody_reads_announcements(admin: candela.Client, mesh: Mesh) -> None:
    made = admin.announcements.create(
        "We move on Sunday", severity="WARNING", end_time=datetime(2100, 1, 1, tzinfo=UTC)
    )
    with candela.Client(mesh.target) as nobody:
        assert made in list(nobody.announcements.list())
        changed = admin.announcements.update(
            made.name, body="All day", etag=made.etag, update_mask=["body", "end_time"]
        )
        assert (changed.severity, changed.HasField("end_time")) == (
            announcement_pb2.Announcement.SEVERITY_WARNING,
            False,
        )
        assert changed in list(nobody.announcements.list())
        admin.announcements.delete(made.name)
        assert made.name not in [one.name for one in nobody.announcements.list()]
