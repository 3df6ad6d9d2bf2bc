"""Stage 2: whatever a call raises becomes an error that the caller may read."""

import logging

import grpc

from services.kit.errors import CandelaError, Internal
from services.kit.grpc_status import from_rpc_error

_LOG = logging.getLogger(__name__)


def as_error(exc: BaseException, method: str) -> CandelaError:
    """Return the error that the caller gets for an exception.

    What another service answered keeps its meaning and loses what the transport said. Anything unknown is Internal: its
    stack goes to the log, where the trace id finds it, and nothing of it to the caller.
    """
    if isinstance(exc, CandelaError):
        if isinstance(exc, Internal):
            _LOG.error("%s failed: %s", method, exc.message, exc_info=exc)
        return exc
    if isinstance(exc, grpc.RpcError):
        _LOG.warning("%s: a call to another service failed: %s", method, exc, exc_info=exc)
        return from_rpc_error(exc)
    _LOG.error("%s failed with %s", method, type(exc).__name__, exc_info=exc)
    return Internal("internal error")
