"""The parameters of requests: what they ask of the scheduler, and what this server does not have."""

import time
from collections.abc import Mapping
from typing import Any, Final

from inference_server.batching import Priority
from inference_server.engine import Work
from inference_server.oip.refusals import invalid
from kserve import grpc_service_pb2
from services.kit.errors import Unimplemented

# As Triton counts: 1 is the most urgent of PRIORITY_LEVELS; 0 and what is beyond them is the default.
PRIORITIES: Final = {1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}
PRIORITY_LEVELS: Final = len(PRIORITIES)
DEFAULT_LEVEL: Final = 2

WANTS_FINAL: Final = "triton_enable_empty_final_response"
FINAL: Final = "triton_final_response"
_SEQUENCES: Final = ("sequence_id", "sequence_start", "sequence_end")
_SHARED_MEMORY: Final = "shared_memory_region"
_MICROSECONDS: Final = 1_000_000


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Refuse a request that belongs to a sequence, and urgency that is no number; others are not ours and ignored."""
    for name in _SEQUENCES:
        if name in parameters and _value(parameters, name):
            raise Unimplemented(
                f"the parameter '{name}' is not supported: no model here keeps state between requests",
                metadata={"parameter": name},
            )
    _number(parameters, "priority")
    _number(parameters, "timeout")


def hurried(request: grpc_service_pb2.ModelInferRequest, work: Work) -> Work:
    """Let `priority` and `timeout` (µs from now on) of a request count; a deadline is only ever brought forward."""
    parameters = request.parameters
    if not parameters:
        return work
    level = _number(parameters, "priority")
    if level:
        work.priority = PRIORITIES.get(level, Priority.NORMAL)
    timeout = _number(parameters, "timeout")
    if timeout:
        ends = time.monotonic() + timeout / _MICROSECONDS  # deadlines are in the process's monotonic time
        work.deadline = ends if work.deadline is None else min(work.deadline, ends)
    return work


def refuse_shared_memory(tensor: Any) -> None:
    """Refuse a tensor that lies in shared memory, where this server does not look."""
    if _SHARED_MEMORY in tensor.parameters:
        raise Unimplemented(
            f"'{tensor.name}' is in shared memory, which this server does not map: send the bytes in the message",
            metadata={"tensor": tensor.name},
        )


def _value(parameters: Mapping[str, Any], name: str) -> Any:
    parameter = parameters[name]
    choice = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, choice) if choice else None


def _number(parameters: Mapping[str, Any], name: str) -> int:
    """Return a parameter that is a whole number, 0 without it."""
    if name not in parameters:
        return 0
    value = _value(parameters, name)
    if type(value) is not int or value < 0:
        raise invalid(f"the parameter '{name}' is {value!r} and must be a whole number, at least 0", parameter=name)
    return value
