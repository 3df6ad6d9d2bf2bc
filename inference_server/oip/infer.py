"""ModelInfer as an operation: the unary method, the stream of inferences and the Exchange door all do this."""

from collections.abc import Sequence
from typing import Any, Final

from inference_server.api.operation import Operation
from inference_server.engine import Engine, Item
from inference_server.host import ModelHost
from inference_server.models.model import ModelCard
from inference_server.oip.codecs import codec_for, codec_of
from inference_server.oip.parameters import check_parameters, hurried
from inference_server.oip.refusals import invalid
from kserve import grpc_service_pb2
from services.kit.errors import CandelaError, NotFound, Unavailable

PATH: Final = "/inference.GRPCInferenceService/ModelInfer"


def named(host: ModelHost, name: str, version: str) -> Engine[Any, Any]:
    """Return the engine of a model by its name, its newest version if `version` is empty.

    Raises NotFound and Unavailable in the words that users of Triton know, InvalidArgument without a name.
    """
    if not name:
        raise invalid("the request names no model")
    try:
        return host.named(name, version)
    except NotFound as error:
        which = f"'{name}' version {version}" if version else f"'{name}'"
        raise NotFound(
            f"Request for unknown model: {which} is not found", reason="MODEL_NOT_FOUND", metadata=error.metadata
        ) from None
    except Unavailable as error:
        raise Unavailable(
            f"Request for unknown model: '{name}' has no available versions: {error.message}",
            reason=error.reason,
            metadata=error.metadata,
            retry_after=error.retry_after,
        ) from None


def _engine(host: ModelHost, request: grpc_service_pb2.ModelInferRequest) -> Engine[Any, Any]:
    return named(host, request.model_name, request.model_version)


def _items(engine: Engine[Any, Any], request: grpc_service_pb2.ModelInferRequest) -> Sequence[Item[Any] | CandelaError]:
    if request.parameters:
        check_parameters(request.parameters)
    codec = codec_of(engine)
    if request.outputs:
        codec.check_outputs(request)
    return codec.items(request)


def _response(
    card: ModelCard, request: grpc_service_pb2.ModelInferRequest, results: Sequence[Any]
) -> grpc_service_pb2.ModelInferResponse:
    return codec_for(card).response(request, results)


INFER: Final[Operation[grpc_service_pb2.ModelInferRequest, grpc_service_pb2.ModelInferResponse]] = Operation(
    path=PATH, field="infer", engine=_engine, items=_items, response=_response, urgency=hurried
)
