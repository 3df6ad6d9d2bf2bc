"""What every typed RPC does once: from a call to its work, from a request to its response."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry import trace

from inference_server.api.operation import Operation
from inference_server.batching import Priority
from inference_server.engine import Engine, Work
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from services.kit.call import DEFAULT_TENANT, Call, Principal, current_call
from services.kit.errors import FieldViolation, InvalidArgument

PRIORITY = "candela-priority"
_PRIORITIES = {"": Priority.NORMAL, "low": Priority.LOW, "normal": Priority.NORMAL, "high": Priority.HIGH}
Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


def work_of(call: Call) -> Work:
    """Return how the engine is to treat a call: whose it is, how urgent, until when, and under which span.

    The metadata `candela-priority` is `low`, `normal` (the default) or `high`; raises InvalidArgument for others.
    """
    text = call.metadata.get(PRIORITY, "")
    priority = _PRIORITIES.get(text)
    if priority is None:
        violation = FieldViolation(PRIORITY, "must be low, normal or high", "string.in")
        raise InvalidArgument(f"{PRIORITY}: must be low, normal or high", violations=[violation])
    return Work(
        tenant=flow_of(call.principal),
        priority=priority,
        deadline=call.deadline,
        span=trace.get_current_span().get_span_context(),
    )


def flow_of(principal: Principal | None) -> str:
    """Return whose share of the models a call uses.

    That is the tenant's; in the default tenant every user has a share of their own, since an installation without
    tenants is to be fair between its users. What a service does for nobody is on its own account.
    """
    if principal is None:
        return "service:"
    if not principal.user:
        return f"service:{principal.service}"
    return f"{DEFAULT_TENANT}/{principal.user}" if principal.tenant == DEFAULT_TENANT else principal.tenant


def by_task(task: Task) -> Callable[[ModelHost, Any], Engine[Any, Any]]:
    """Return how to find the engine of a request that names its model in `model`, empty for the task's default."""
    return lambda host, request: host.find(task, request.model)


async def answer(host: ModelHost, operation: Operation[Q, R], request: Q) -> R:
    """Do one unary call: wait for the results of all its items; when the caller goes away, what waits is withdrawn."""
    engine = operation.engine(host, request)
    items = operation.items(engine, request)
    work = work_of(current_call())
    if operation.urgency is not None:
        work = operation.urgency(request, work)
    results = await engine.answers(items, work)
    return operation.response(engine.card, request, results)
