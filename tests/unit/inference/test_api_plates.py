"""The typed plate calls behind the kit's whole pipeline."""

from collections.abc import AsyncIterator

import grpc
import pytest

from candela.inference.v1 import ocr_pb2, plate_service_pb2, plate_service_pb2_grpc
from inference_server.models.catalogue import Task
from tests.unit.inference.readers import PlateFinder, PlateReader
from tests.unit.inference.serving import Served, bright, image, reason_of, refused, serve


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve((Task.DETECT_PLATES, PlateFinder()), (Task.READ_PLATES, PlateReader())) as running:
        yield running


def stub(served: Served) -> "plate_service_pb2_grpc.PlateServiceAsyncStub":  # a type for the checker only
    return plate_service_pb2_grpc.PlateServiceStub(served.channel)


def detect(*images: ocr_pb2.PixelImage, model: str = "") -> plate_service_pb2.DetectPlatesRequest:
    return plate_service_pb2.DetectPlatesRequest(model=model, images=images)


def read(*crops: ocr_pb2.PixelImage, model: str = "") -> plate_service_pb2.ReadPlatesRequest:
    return plate_service_pb2.ReadPlatesRequest(model=model, crops=crops)


async def test_every_picture_has_its_plates_the_surest_first(served: Served) -> None:
    answer = await stub(served).DetectPlates(detect(image(4, 2), bright(), image(3, 5)), metadata=served.metadata)
    assert answer.model == "plate-finder@2"
    first, bad, last = answer.results
    assert [region.score for region in first.regions.regions] == pytest.approx([0.875, 0.75])
    box = first.regions.regions[0].box
    corners = [box.top_left, box.top_right, box.bottom_right, box.bottom_left]
    assert [(corner.x, corner.y) for corner in corners] == [(0, 0), (4, 0), (4, 2), (0, 2)]
    assert (last.regions.regions[0].box.bottom_right.x, last.regions.regions[0].box.bottom_right.y) == (3, 5)
    assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert reason_of(bad.error) == "MEDIA_UNREADABLE"


async def test_every_crop_is_read_character_by_character(served: Served) -> None:
    answer = await stub(served).ReadPlates(read(image(2, 2), bright(), image(4, 2)), metadata=served.metadata)
    assert answer.model == "plate-reader@3"
    first, bad, last = answer.results
    assert (first.plate.text, last.plate.text) == ("AB", "ABCD")
    assert first.plate.confidence == pytest.approx(0.5625)
    assert [(one.text, one.confidence, one.start, one.end) for one in first.plate.characters] == [
        ("A", 0.5, 0.0, 0.5),
        ("B", 0.625, 0.5, 1.0),
    ]
    assert reason_of(bad.error) == "MEDIA_UNREADABLE"


async def test_a_picture_that_lies_about_its_size_fails_alone(served: Served) -> None:
    liar = image(4, 2, data=bytes(23))
    detected = await stub(served).DetectPlates(detect(liar, image()), metadata=served.metadata)
    seen = await stub(served).ReadPlates(read(liar, image()), metadata=served.metadata)
    for bad, good in (detected.results, seen.results):
        assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert not good.HasField("error")


@pytest.mark.parametrize(
    "hostile",
    [detect(), detect(*[image()] * 65), detect(image(layout=0)), detect(image(0, 2)), detect(image(), model="m" * 101)],
)
async def test_a_detection_against_the_contract_is_refused_whole(
    served: Served, hostile: plate_service_pb2.DetectPlatesRequest
) -> None:
    code, status = await refused(stub(served).DetectPlates(hostile, metadata=served.metadata))
    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


@pytest.mark.parametrize("hostile", [read(), read(*[image(1, 1)] * 501), read(image(data=b""))])
async def test_a_reading_against_the_contract_is_refused_whole(
    served: Served, hostile: plate_service_pb2.ReadPlatesRequest
) -> None:
    code, status = await refused(stub(served).ReadPlates(hostile, metadata=served.metadata))
    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_models_of_another_task_are_not_found(served: Served) -> None:
    code, status = await refused(
        stub(served).DetectPlates(detect(image(), model="plate-reader"), metadata=served.metadata)
    )
    assert (code, reason_of(status)) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_only_services_may_call(served: Served) -> None:
    for metadata, expected in (
        ((), grpc.StatusCode.UNAUTHENTICATED),
        (served.server.as_user("u1", role="ADMIN"), grpc.StatusCode.PERMISSION_DENIED),
    ):
        code, _ = await refused(stub(served).DetectPlates(detect(image()), metadata=metadata))
        assert code is expected
        code, _ = await refused(stub(served).ReadPlates(read(image()), metadata=metadata))
        assert code is expected
