"""candela.inference.v1.PlateService: messages to items, results to messages."""

from collections.abc import Sequence
from typing import Any

from candela.inference.v1 import plate_service_pb2, plate_service_pb2_grpc
from inference_server.api.calls import answer, by_task
from inference_server.api.failures import failure
from inference_server.api.images import box, characters, picture_item
from inference_server.api.operation import Operation
from inference_server.engine import Engine, Item
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from inference_server.models.model import ModelCard
from inference_server.models.picture import Picture
from inference_server.models.plate import Plate, PlateRegion
from services.kit.errors import CandelaError

Context = Any  # grpc.aio's context: the pipeline reads it, handlers do not


class PlateServicer(plate_service_pb2_grpc.PlateServiceServicer):
    """Items of concurrent calls meet in the engines; a call waits for its own."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def DetectPlates(
        self, request: plate_service_pb2.DetectPlatesRequest, context: Context
    ) -> plate_service_pb2.DetectPlatesResponse:
        return await answer(self._host, DETECT_PLATES, request)

    async def ReadPlates(
        self, request: plate_service_pb2.ReadPlatesRequest, context: Context
    ) -> plate_service_pb2.ReadPlatesResponse:
        return await answer(self._host, READ_PLATES, request)


def _pictures(
    engine: Engine[Any, Any], request: plate_service_pb2.DetectPlatesRequest
) -> list[Item[Picture] | CandelaError]:
    return [picture_item(image) for image in request.images]


def _crops(
    engine: Engine[Any, Any], request: plate_service_pb2.ReadPlatesRequest
) -> list[Item[Picture] | CandelaError]:
    return [picture_item(image) for image in request.crops]


def _regions(
    card: ModelCard,
    request: plate_service_pb2.DetectPlatesRequest,
    results: Sequence[Sequence[PlateRegion] | CandelaError],
) -> plate_service_pb2.DetectPlatesResponse:
    return plate_service_pb2.DetectPlatesResponse(
        model=card.identity, results=[_detected(result) for result in results]
    )


def _plates(
    card: ModelCard, request: plate_service_pb2.ReadPlatesRequest, results: Sequence[Plate | CandelaError]
) -> plate_service_pb2.ReadPlatesResponse:
    return plate_service_pb2.ReadPlatesResponse(model=card.identity, results=[_read(result) for result in results])


def _detected(result: Sequence[PlateRegion] | CandelaError) -> plate_service_pb2.DetectPlatesResult:
    if isinstance(result, CandelaError):
        return plate_service_pb2.DetectPlatesResult(error=failure(result))
    regions = [plate_service_pb2.PlateRegion(box=box(region.corners), score=region.score) for region in result]
    return plate_service_pb2.DetectPlatesResult(regions=plate_service_pb2.PlateRegions(regions=regions))


def _read(result: Plate | CandelaError) -> plate_service_pb2.ReadPlatesResult:
    if isinstance(result, CandelaError):
        return plate_service_pb2.ReadPlatesResult(error=failure(result))
    plate = plate_service_pb2.PlateText(
        text=result.text, confidence=result.confidence, characters=characters(result.characters)
    )
    return plate_service_pb2.ReadPlatesResult(plate=plate)


DETECT_PLATES = Operation(
    path="/candela.inference.v1.PlateService/DetectPlates",
    field="detect_plates",
    engine=by_task(Task.DETECT_PLATES),
    items=_pictures,
    response=_regions,
)
READ_PLATES = Operation(
    path="/candela.inference.v1.PlateService/ReadPlates",
    field="read_plates",
    engine=by_task(Task.READ_PLATES),
    items=_crops,
    response=_plates,
)
OPERATIONS: Sequence[Operation[Any, Any]] = (DETECT_PLATES, READ_PLATES)
