"""The typed OCR calls behind the kit's whole pipeline."""

from collections.abc import AsyncIterator

import grpc
import pytest

from candela.inference.v1 import ocr_pb2, ocr_service_pb2, ocr_service_pb2_grpc
from inference_server.models.catalogue import Task
from tests.support.eventually import eventually
from tests.unit.inference.readers import Finder, Reader
from tests.unit.inference.serving import Served, bright, image, reason_of, refused, serve


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve((Task.DETECT_TEXT, Finder()), (Task.RECOGNIZE_TEXT, Reader())) as running:
        yield running


def stub(served: Served) -> "ocr_service_pb2_grpc.OcrServiceAsyncStub":  # a type of the stubs for the checker only
    return ocr_service_pb2_grpc.OcrServiceStub(served.channel)


def detect(*images: ocr_pb2.PixelImage, model: str = "") -> ocr_service_pb2.DetectTextRequest:
    return ocr_service_pb2.DetectTextRequest(model=model, images=images)


async def test_detection_answers_every_picture_in_order(served: Served) -> None:
    answer = await stub(served).DetectText(detect(image(4, 2), bright(), image(3, 5)), metadata=served.metadata)
    assert answer.model == "finder@7"
    first, bad, last = answer.results
    assert first.regions.regions[0].score == pytest.approx(0.75)
    assert (first.regions.regions[0].box.bottom_right.x, first.regions.regions[0].box.bottom_right.y) == (4, 2)
    assert (last.regions.regions[0].box.bottom_right.x, last.regions.regions[0].box.bottom_right.y) == (3, 5)
    assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason_of(bad.error) == "MEDIA_UNREADABLE"


async def test_recognition_answers_words_and_characters(served: Served) -> None:
    request = ocr_service_pb2.RecognizeTextRequest(crops=[image(), image(8, 2)], detect_orientation=True)
    answer = await stub(served).RecognizeText(request, metadata=served.metadata)
    assert answer.model == "reader@1"
    assert len(answer.results) == 2
    line = answer.results[1].line
    assert (line.text, line.upside_down) == ("ab c", True)
    assert [(word.text, word.start, word.end) for word in line.words] == [("ab", 0.0, 0.5), ("c", 0.75, 1.0)]
    assert line.words[0].confidence == pytest.approx(0.5625)
    assert [(one.text, one.confidence, one.start, one.end) for one in line.words[0].characters] == [
        ("a", 0.5, 0.0, 0.25),
        ("b", 0.625, 0.25, 0.5),
    ]
    assert line.confidence == pytest.approx((0.5 + 0.625 + 0.875) / 3)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (image(4, 2, data=bytes(23)), "INVALID_ARGUMENT"),
        (image(4, 2, data=bytes(25)), "INVALID_ARGUMENT"),
        (image(4, 2, data=bytes(24), layout=3), "INVALID_ARGUMENT"),
        (image(65_500, 65_500, data=bytes(24)), "MEDIA_TOO_LARGE"),
    ],
)
async def test_a_picture_that_lies_about_its_size_fails_alone(
    served: Served, bad: ocr_pb2.PixelImage, reason: str
) -> None:
    answer = await stub(served).DetectText(detect(bad, image()), metadata=served.metadata)
    assert answer.results[0].error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason_of(answer.results[0].error) == reason
    assert answer.results[1].regions.regions


@pytest.mark.parametrize(
    "hostile",
    [
        ocr_service_pb2.DetectTextRequest(),
        detect(image(0, 2, data=bytes(6))),
        detect(image(2, 0, data=bytes(6))),
        detect(image(65_501, 1)),
        detect(image(2**32 - 1, 2**32 - 1, data=b"x")),
        detect(image(4, 2, data=b"")),
        detect(image(layout=0)),
        detect(image(layout=77)),
        detect(*[image()] * 65),
        detect(image(), model="m" * 101),
    ],
)
async def test_a_request_against_the_contract_is_refused_whole(
    served: Served, hostile: ocr_service_pb2.DetectTextRequest
) -> None:
    code, status = await refused(stub(served).DetectText(hostile, metadata=served.metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(status) == "INVALID_ARGUMENT"


async def test_models_are_named_with_or_without_version(served: Served) -> None:
    for name in ("finder", "finder@7"):
        answer = await stub(served).DetectText(detect(image(), model=name), metadata=served.metadata)
        assert answer.model == "finder@7"
    for name in ("finder@8", "reader", "nobody"):
        code, status = await refused(stub(served).DetectText(detect(image(), model=name), metadata=served.metadata))
        assert code is grpc.StatusCode.NOT_FOUND
        assert reason_of(status) == "MODEL_NOT_FOUND"


async def test_without_models_the_server_answers_and_says_so() -> None:
    async with serve() as served:
        code, status = await refused(stub(served).DetectText(detect(image()), metadata=served.metadata))
        assert (code, reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        code, status = await refused(stub(served).DetectText(detect(image(), model="x"), metadata=served.metadata))
        assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_a_full_queue_is_resource_exhausted() -> None:
    async with serve((Task.DETECT_TEXT, Finder()), max_items=2) as served:
        call = stub(served).DetectText(detect(image(), image(), image()), metadata=served.metadata)
        code, status = await refused(call)
        assert (code, reason_of(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")


async def test_only_services_may_call(served: Served) -> None:
    code, _ = await refused(stub(served).DetectText(detect(image())))
    assert code is grpc.StatusCode.UNAUTHENTICATED
    code, _ = await refused(
        stub(served).DetectText(detect(image()), metadata=served.server.as_user("u1", role="ADMIN"))
    )
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_the_batch_is_a_child_of_the_call(served: Served) -> None:
    await stub(served).DetectText(detect(image()), metadata=served.metadata)
    call = await served.server.last_span()
    (batch,) = await eventually(served.exporter.get_finished_spans)
    assert batch.parent is not None
    assert call.context is not None
    assert batch.parent.span_id == call.context.span_id
    assert [link.context.span_id for link in batch.links] == [call.context.span_id]
