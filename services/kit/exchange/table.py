"""What a door knows of its methods, the same for all of its streams."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Gauge

from candela.exchange.v1 import exchange_pb2
from services.kit.call import Principal
from services.kit.clock import Clock
from services.kit.errors import PermissionDenied
from services.kit.exchange.behaviours import is_behaviour
from services.kit.exchange.contract import Contract
from services.kit.exchange.incoming import Incoming
from services.kit.exchange.options import DoorOptions
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.item_telemetry import ItemTelemetry
from services.kit.pipeline.items import ItemMethod
from services.kit.pipeline.telemetry import in_flight_of
from services.kit.validation import validate

_TRACEPARENT = 55  # what the contract bounds, tested here first: a call of protovalidate costs 2 µs
_REQUEST_ID = 128
_PRIORITIES = len(exchange_pb2.Priority.keys())
_ACTORS = 4096


@dataclass(frozen=True, slots=True)
class Frames:
    """A handler that is given all calls of its kind that came in one frame, at once, on the loop's thread.

    It answers each by the call's own methods, now or later, and must not wait. What it raises fails the calls of the
    frame that are not answered yet.
    """

    handle: Callable[[Sequence[Incoming]], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of the calls: its method, and who answers. Exactly one of `frames` and `behaviour` is there."""

    member: str
    method: ItemMethod
    in_flight: Gauge
    frames: Callable[[Sequence[Incoming]], None] | None
    behaviour: Any


class Table:
    """Methods by member, and what every item of every stream needs."""

    def __init__(
        self, contract: Contract, handlers: Mapping[str, Any], options: DoorOptions, pipeline: Pipeline
    ) -> None:
        self.contract = contract
        self.options = options
        self.clock: Clock = pipeline.clock
        self.pipeline = pipeline
        self.telemetry = ItemTelemetry(
            pipeline.tracer,
            sampled=options.sampled,
            log=options.log and pipeline.access_log,
            log_all=options.log_all,
        )
        self.entries = self._entries(contract, handlers)

    def _entries(self, contract: Contract, handlers: Mapping[str, Any]) -> dict[str, Entry]:
        call = contract.call_frame.DESCRIPTOR.fields_by_name["calls"].message_type
        entries = {}
        for member, info in contract.infos(self.pipeline.methods).items():
            handler = handlers[member]
            method = ItemMethod(info, call.fields_by_name[member].message_type, self.pipeline.limits)
            frames = handler.handle if isinstance(handler, Frames) else None
            behaviour = handler if frames is None else None
            entries[member] = Entry(member, method, in_flight_of(info.service), frames, behaviour)
        return entries


def check_handlers(contract: Contract, handlers: Mapping[str, Any]) -> None:
    """Raise TypeError unless there is a handler that can be run for every member, and none for another."""
    if set(contract.members) != set(handlers):
        odd = ", ".join(sorted(set(contract.members) ^ set(handlers)))
        raise TypeError(f"{contract.path}: members and handlers differ in {odd}")
    for member, handler in handlers.items():
        if not isinstance(handler, Frames) and not is_behaviour(handler):
            raise TypeError(f"{contract.path}: the handler of {member} is not asynchronous")


class Actors:
    """The principals of a stream: its caller, and those whom it acts for."""

    def __init__(self, caller: Principal) -> None:
        self._caller = caller
        self._known: dict[tuple[str, str, str], Principal] = {}

    def of(self, context: Any) -> Principal:
        """Return whom a call's context names, always the same object for the same actor, as long as they are few.

        Raises InvalidArgument for an actor against the rules, PermissionDenied when the caller may not name one: its
        token is for one user already.
        """
        if not context.HasField("actor"):
            return self._caller
        actor = context.actor
        key = (actor.tenant, actor.user, actor.api_key)
        known = self._known.get(key)
        if known is None:
            validate(actor)
            if self._caller.user or self._caller.api_key:
                raise PermissionDenied("the stream's token is for one user; an actor needs one for nobody")
            if len(self._known) >= _ACTORS:
                self._known.clear()
            known = self._known[key] = Principal(key[0], user=key[1], api_key=key[2], service=self._caller.service)
        return known


def admit(table: Table, entry: Entry, actors: Actors, incoming: Incoming, context: Any) -> None:
    """Lead one item through the stages after authentication; raises what refuses it.

    Written as one piece: it runs for every item, and each call saved is a percent of it.
    """
    method = entry.method
    traceparent, request_id, priority = context.traceparent, context.request_id, context.priority
    incoming.traceparent = traceparent
    incoming.seen = table.telemetry.begin(method.info, traceparent)
    incoming.principal = principal = actors.of(context)
    method.admit(principal)
    if len(traceparent) > _TRACEPARENT or len(request_id) > _REQUEST_ID or not 0 <= priority < _PRIORITIES:
        validate(context)
    incoming.priority = priority
    method.check(incoming.request)
    remaining = None
    if context.HasField("timeout"):
        timeout = context.timeout
        remaining = timeout.seconds + timeout.nanos * 1e-9
    incoming.deadline = incoming.started + method.time_allowed(remaining)
    incoming.request_id = method.request_id(incoming.request, request_id)
