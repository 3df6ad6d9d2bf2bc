"""Bounding the logs that a proxy writes itself: renamed when they are full, and the proxy told to open a new one."""

import asyncio
import contextlib
from collections.abc import Sequence

from supervisor.probes import http_request
from supervisor.specs import OwnLog, ProcessSpec

_INTERVAL = 5.0
_MAX_BYTES = 32 * 1024 * 1024
_TIMEOUT = 2.0


async def bound_own_logs(specs: Sequence[ProcessSpec]) -> None:
    """Look at the logs every five seconds, for ever; at most 32 MiB and one old file of as much are kept of each."""
    logs = [spec.own_log for spec in specs if spec.own_log is not None]
    while True:
        for log in logs:
            await bound(log)
        await asyncio.sleep(_INTERVAL)


async def bound(log: OwnLog, *, max_bytes: int = _MAX_BYTES) -> bool:
    """Start a log anew when it is full; return whether it was. What was written meanwhile is in the old file."""
    try:
        if log.path.stat().st_size <= max_bytes:
            return False
        log.path.replace(log.path.with_name(f"{log.path.name}.1"))
    except OSError:
        return False
    # A proxy that does not answer is just starting again and opens the new file by itself.
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(_TIMEOUT):
            await http_request(log.admin_port, "/reopen_logs", method="POST")
    return True
