"""What every typed RPC does once: from a call to its work, from a request to its response."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry import trace

from inference_server.api.operation import Operation
from inference_server.engine import Engine
from inference_server.host import ModelHost
from inference_server.models.catalogue import Task
from services.kit.call import DEFAULT_TENANT, Principal, current_call

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


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
    span = trace.get_current_span().get_span_context()
    submission = engine.submit(operation.items(engine, request), span, current_call().deadline)
    try:
        results = await asyncio.wrap_future(submission.future)
    finally:
        submission.cancel()
    return operation.response(engine.card, request, results)
