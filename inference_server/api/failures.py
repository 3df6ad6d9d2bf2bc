"""What came of an item that failed, as its result says it."""

from google.rpc import status_pb2

from observability.telemetry import current_trace_id
from services.kit.errors import CandelaError
from services.kit.grpc_status import to_status


def failure(error: CandelaError) -> status_pb2.Status:
    """Return the status of one item's error, under the trace id of the call that is being handled, if there is one."""
    return to_status(error, current_trace_id())
