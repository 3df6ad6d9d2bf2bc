"""Answers in pieces: begun again only before their first message, and ended by their last event."""

from typing import Any

import pytest

import candela
from candela.recognition.v1 import recognition_job_service_pb2 as jobs
from candela.user.v1 import notification_service_pb2 as notifications
from tests.support.eventually import eventually_sync
from tests.unit.client.fake_candela import ACCESS_SECONDS, World, unavailable

WATCH_JOB = candela.Method.of(
    jobs.DESCRIPTOR,
    "RecognitionJobService.WatchRecognitionJob",
    jobs.WatchRecognitionJobRequest,
    jobs.RecognitionJobEvent,
    timeout=None,
)
WATCH_NOTIFICATIONS = candela.Method.of(
    notifications.DESCRIPTOR,
    "NotificationService.WatchNotifications",
    notifications.WatchNotificationsRequest,
    notifications.WatchNotificationsResponse,
    timeout=None,
)


def watch(client: Any, how: str) -> Any:
    return client.stream(WATCH_JOB, jobs.WatchRecognitionJobRequest(name=f"recognitionJobs/{how}"))


def test_a_stream_ends_with_its_last_event(client: Any) -> None:
    with watch(client, "good") as stream:
        events = list(stream)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert events[-1].completed.recognition_job.recognition == "recognitions/7"
    assert list(stream) == []


def test_an_error_event_is_raised_as_what_it_is(client: Any) -> None:
    seen: list[Any] = []
    with pytest.raises(candela.InvalidArgument, match="no picture") as caught:
        iter_into(seen, watch(client, "bad"))
    assert caught.value.reason == "MEDIA_UNREADABLE"
    assert len(seen) == 3


@pytest.mark.parametrize("how", ["broken", "cut"])
def test_a_stream_that_breaks_is_not_begun_again(client: Any, world: World, how: str) -> None:
    seen: list[Any] = []
    with pytest.raises(candela.Unavailable):
        iter_into(seen, watch(client, how))
    assert len(seen) == 3
    assert world.count("WatchRecognitionJob") == 1


def test_a_stream_is_begun_again_before_its_first_message(client: Any, world: World) -> None:
    world.before["WatchRecognitionJob"] = [unavailable, unavailable]
    assert len(list(watch(client, "good"))) == 4
    assert world.count("WatchRecognitionJob") == 3


def test_a_stream_gets_a_fresh_token(client: Any, world: World) -> None:
    world.now += ACCESS_SECONDS
    assert len(list(watch(client, "good"))) == 4
    assert world.count("RefreshSession") == 1


def test_leaving_a_stream_tells_the_server(client: Any, world: World) -> None:
    with client.stream(WATCH_NOTIFICATIONS, notifications.WatchNotificationsRequest()) as stream:
        assert next(iter(stream)).seq == 1
    eventually_sync(world.gate.is_set, timeout=20)
    assert list(stream) == []


def test_a_method_with_other_types_is_refused() -> None:
    with pytest.raises(TypeError, match="WatchRecognitionJobRequest"):
        candela.Method.of(
            jobs.DESCRIPTOR,
            "RecognitionJobService.WatchRecognitionJob",
            jobs.GetRecognitionJobRequest,
            jobs.RecognitionJobEvent,
        )


def iter_into(seen: list[Any], stream: Any) -> None:
    """Takes all messages, keeping what came before an error."""
    for event in stream:
        seen.append(event)  # noqa: PERF402 -- what came before the error has to stay
