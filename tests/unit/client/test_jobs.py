"""Jobs as futures: waited for through breaks, cancelled, told of, taken up again."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

import candela
from candela.recognition.v1 import recognition_service_pb2
from tests.support.eventually import eventually_sync
from tests.unit.client.conftest import Driver, Pauses
from tests.unit.client.fake_candela import World, unavailable
from tests.unit.client.fake_work import CANCELLED, FAILED, SUCCEEDED, Work

DOCUMENT = recognition_service_pb2.RecognizeDocumentRequest(file="files/1")


def create(client: Any) -> Any:
    return client.recognition_jobs.create(document=DOCUMENT)


def test_a_job_is_done_some_time_later(client: Any, work: Work) -> None:
    job = create(client)
    assert (job.name, job.done()) == ("recognitionJobs/1", False)
    work.end(SUCCEEDED)
    assert job.result(timeout=30).name == "recognitionJobs/1"
    assert job.done()
    assert job.exception() is None


def test_a_job_that_failed_raises_why(client: Any, work: Work) -> None:
    job = create(client)
    work.end(FAILED)
    with pytest.raises(candela.InvalidArgument, match="no picture") as caught:
        job.result()
    assert caught.value.reason == "MEDIA_UNREADABLE"
    assert isinstance(job.exception(), candela.InvalidArgument)


def test_a_job_is_cancelled(client: Any) -> None:
    job = create(client)
    assert job.cancel()
    assert job.cancelled()
    with pytest.raises(candela.Cancelled):
        job.result()


def test_a_job_that_has_ended_is_not_cancelled(client: Any, work: Work) -> None:
    job = create(client)
    work.end(SUCCEEDED)
    assert not job.cancel()
    assert not job.cancelled()


def test_waiting_goes_on_after_breaks(client: Any, world: World, work: Work, pauses: Pauses) -> None:
    job = create(client)
    work.ends = [work.job.status.state, work.job.status.state, SUCCEEDED]
    assert job.result().status.state == SUCCEEDED
    assert world.count("WatchRecognitionJob") == 3
    assert len(pauses.taken) == 2
    assert pauses.taken[0] < pauses.taken[1]


def test_waiting_outlives_a_server_that_is_away(client: Any, world: World, work: Work) -> None:
    job = create(client)
    world.before["WatchRecognitionJob"] = [unavailable] * 7
    work.ends = [work.job.status.state, SUCCEEDED]
    assert job.result().status.state == SUCCEEDED


def test_waiting_ends_with_its_time_and_the_job_goes_on(client: Any, pauses: Pauses) -> None:
    job = create(client)
    with pytest.raises(candela.DeadlineExceeded):
        job.result(timeout=5)
    assert sum(pauses.taken) >= 4
    assert not job.done()


def test_a_job_is_taken_up_by_its_name(client: Any, work: Work) -> None:
    create(client)
    work.end(CANCELLED)
    assert client.recognition_jobs.handle("recognitionJobs/1").cancelled()


def test_a_preview_is_no_job(client: Any) -> None:
    preview = client.recognition_jobs.handle("")
    for use in (preview.done, preview.result, preview.cancel):
        with pytest.raises(ValueError, match="no job"):
            use()


def test_callbacks_are_told_once(client: Any, work: Work) -> None:
    told: list[str] = []
    job = create(client)
    work.ends = [work.job.status.state, SUCCEEDED]

    def first(done: Any) -> None:
        told.append(f"first {done.latest.status.state == SUCCEEDED}")
        raise RuntimeError("a callback of somebody else's")

    add(client, job, first)
    add(client, job, lambda done: told.append(done.name))
    eventually_sync(lambda: len(told) == 2)
    add(client, job, lambda _: told.append("late"))
    eventually_sync(lambda: len(told) == 3)
    assert told == ["first True", "recognitionJobs/1", "late"]


def test_a_client_that_is_closed_ends_the_waiting(connect: Callable[..., Any], caplog: Any) -> None:
    client = connect()
    client.login("ada@example.org", "correct horse battery")
    job = create(client)
    client.close()
    add(client, job, lambda _: None)
    eventually_sync(lambda: "ended before it did" in caplog.text)
    assert not [thread for thread in threading.enumerate() if thread.name == "candela job" and thread.is_alive()]


def add(client: Any, job: Any, callback: Callable[[Any], object]) -> None:
    """Adds a callback where the handle lives: in the test's thread, or in the event loop."""
    if isinstance(client, Driver):
        client.in_loop(lambda: job._target.add_done_callback(callback))
    else:
        job.add_done_callback(callback)
