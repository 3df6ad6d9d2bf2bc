"""The coalescing door to every model: the calls of one frame meet a model's queue together.

It is built from the same operations as the unary methods, so the two cannot differ in meaning. No call has a task of
its own: a frame's calls become one submission to each model, and every answer leaves as soon as the model gave it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from candela.inference.v1.exchange_service_pb2_grpc import add_ExchangeServiceServicer_to_server
from inference_server.api.calls import flow_of
from inference_server.api.operation import Operation
from inference_server.api.operations import OPERATIONS
from inference_server.batching import Priority
from inference_server.engine import Engine, Work
from inference_server.host import ModelHost
from inference_server.oip.infer import INFER
from services.kit.bootstrap import Mesh
from services.kit.errors import CandelaError
from services.kit.exchange.contract import Contract
from services.kit.exchange.door import Frames
from services.kit.exchange.incoming import Incoming
from services.kit.pipeline.failures import as_error
from services.kit.server import Binding

PATH: Final = "/candela.inference.v1.ExchangeService/Exchange"
DOOR_OPERATIONS: Final[Sequence[Operation[Any, Any]]] = (*OPERATIONS, INFER)
CONTRACT: Final = Contract.of(
    PATH,
    {operation.field: operation.path for operation in DOOR_OPERATIONS},
    idempotent=(INFER.field,),  # models change nothing; KServe's contract has no way to say so
)
_PRIORITIES: Final = (Priority.NORMAL, Priority.LOW, Priority.NORMAL, Priority.HIGH)  # by the contract's numbers


def exchange_of(mesh: Mesh[Any], host: ModelHost) -> Binding:
    """Return the door to the models of `host`."""
    return Binding(add_ExchangeServiceServicer_to_server, mesh.door(CONTRACT, handlers_of(host)))


def handlers_of(host: ModelHost) -> dict[str, Frames]:
    """Return what answers each member of the calls."""
    return {operation.field: Frames(Submitting(host, operation)) for operation in DOOR_OPERATIONS}


class Submitting:
    """Answers the calls of one operation."""

    def __init__(self, host: ModelHost, operation: Operation[Any, Any]) -> None:
        self._host = host
        self._operation = operation

    def __call__(self, items: Sequence[Incoming]) -> None:
        """Submit all calls of a frame; what is refused is told at once."""
        operation, host = self._operation, self._host
        by_engine: dict[Engine[Any, Any], tuple[list[Incoming], list[Any]]] = {}
        for incoming in items:
            request = incoming.request
            try:
                engine = operation.engine(host, request)
                inputs = operation.items(engine, request)
            except Exception as exc:  # noqa: BLE001 - one bad request fails alone, whatever it raised
                incoming.fail(as_error(exc, operation.path[1:]))
                continue
            if engine not in by_engine:
                by_engine[engine] = ([], [])
            calls, requests = by_engine[engine]
            calls.append(incoming)
            work = _work(incoming)
            if operation.urgency is not None:
                work = operation.urgency(request, work)
            requests.append((inputs, work, self._answering(incoming, engine)))
        for engine, (calls, requests) in by_engine.items():
            for incoming, outcome in zip(calls, engine.submit_many(requests), strict=True):
                if isinstance(outcome, CandelaError):
                    incoming.fail(outcome)
                else:
                    incoming.on_cancel(outcome.cancel)

    def _answering(self, incoming: Incoming, engine: Engine[Any, Any]) -> Callable[[list[Any]], None]:
        operation, card, request = self._operation, engine.card, incoming.request

        def done(results: list[Any]) -> None:
            try:
                incoming.reply(operation.response(card, request, results))
            except Exception as exc:  # noqa: BLE001 - the boundary: the engine delivers the others' results after this
                incoming.fail(as_error(exc, operation.path[1:]))

        return done


def _work(incoming: Incoming) -> Work:
    return Work(flow_of(incoming.principal), _PRIORITIES[incoming.priority], incoming.deadline, incoming.span)
