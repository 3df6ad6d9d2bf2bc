"""Streams with a last event: their text and result, answers that go on after a break, and streams both ways."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

import candela
from candela.chat.v1 import message_pb2
from candela.recognition.v1 import plate_service_pb2 as plates
from tests.unit.client.fake_candela import World
from tests.unit.client.fake_work import MESSAGE_PIECES, Work

PARTS = [message_pb2.Part(text="a story, please")]
ANSWER = "conversations/1/messages/2"


def send(client: Any, **options: Any) -> Any:
    return client.messages.send("conversations/1", PARTS, **options)


def test_the_text_of_an_answer_comes_in_pieces(client: Any) -> None:
    with send(client) as stream:
        assert tuple(stream.text) == MESSAGE_PIECES
        assert stream.final().reply.name == ANSWER


def test_the_result_can_be_had_alone(client: Any) -> None:
    with client.recognition_jobs.watch("recognitionJobs/good") as stream:
        assert stream.final().recognition_job.recognition == "recognitions/7"


def test_an_error_at_the_end_is_raised_there(client: Any) -> None:
    with client.recognition_jobs.watch("recognitionJobs/bad") as stream, pytest.raises(candela.InvalidArgument):
        stream.final()


def test_a_stream_that_was_closed_has_no_result(client: Any) -> None:
    stream = send(client)
    stream.close()
    with pytest.raises(RuntimeError, match="closed"):
        stream.final()


def test_a_stream_without_text_says_so(client: Any) -> None:
    with client.recognition_jobs.watch("recognitionJobs/good") as stream, pytest.raises(TypeError, match="no text"):
        list(stream.text)


def test_a_broken_answer_goes_on_where_it_was(client: Any, world: World, work: Work) -> None:
    work.breaks = [3, 1]
    with send(client, background=True) as stream:
        events = list(stream)
    assert [event.seq for event in events] == [0, 1, 2, 3, 4, 5, 6]
    sent = [call.request for call in world.calls("ResumeMessage")]
    assert [(one.name, one.after_seq, one.background) for one in sent] == [(ANSWER, 3, True), (ANSWER, 4, True)]


def test_an_answer_that_breaks_before_it_has_a_name_is_lost(client: Any, work: Work, world: World) -> None:
    work.breaks = [-1]
    with pytest.raises(candela.Unavailable), send(client) as stream:
        list(stream)
    assert not world.count("ResumeMessage")


def test_an_answer_can_be_taken_up_later(client: Any, work: Work) -> None:
    work.breaks = [2]
    with client.messages.resume(ANSWER, after_seq=2) as stream:
        assert "".join(stream.text) == "upon a time"


def test_going_on_ends_when_nothing_more_comes(client: Any, world: World, work: Work) -> None:
    work.breaks = [3, *([-1] * 100)]
    with pytest.raises(candela.Unavailable), send(client) as stream:
        list(stream)
    assert world.count("ResumeMessage") == 5  # one call with all its attempts


def test_other_streams_do_not_go_on_by_themselves(client: Any) -> None:
    with pytest.raises(candela.Unavailable), client.recognition_jobs.watch("recognitionJobs/cut") as stream:
        list(stream)


def test_a_stream_goes_both_ways(client: Any) -> None:
    config = plates.RecognizePlateVideoRequest(config=plates.PlateVideoConfig(min_confidence=0.5))
    frames = [
        plates.RecognizePlateVideoRequest(frame=plates.VideoFrame(content=b"jpeg", offset=Duration(seconds=number)))
        for number in range(3)
    ]
    with client.plates.recognize_video([config, *frames]) as stream:
        events = list(stream)
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert stream.final().frames_read == 3


async def test_frames_may_come_as_they_are_made(endpoint: str) -> None:
    async def frames() -> Any:
        for _ in range(2):
            yield plates.RecognizePlateVideoRequest(frame=plates.VideoFrame(content=b"jpeg"))

    async with (
        candela.AsyncClient(endpoint, api_key="ck_good") as client,
        client.plates.recognize_video(frames()) as stream,
    ):
        assert (await stream.final()).frames_read == 2


async def test_an_asynchronous_stream_needs_no_name(endpoint: str) -> None:
    async with candela.AsyncClient(endpoint, api_key="ck_good") as client:
        events = [event.seq async for event in client.recognition_jobs.watch("recognitionJobs/good")]
        assert events == [1, 2, 3, 4]
        stream = await client.recognition_jobs.watch("recognitionJobs/good")
        assert (await stream.final()).recognition_job.recognition == "recognitions/7"
