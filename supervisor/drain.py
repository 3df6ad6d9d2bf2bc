"""Letting a proxy finish: it takes no new connections, and what it is answering ends before it is told to stop."""

import asyncio
import re

from supervisor.probes import http_request
from supervisor.specs import Drain

_INTERVAL = 0.05
# Requests of the supervisor itself to the admin port are no traffic.
_STATISTIC = re.compile(rb"^([^\s:]+): (\d+)\s*$", re.MULTILINE)


async def drain(how: Drain, *, timeout: float, notice: bool = False) -> bool:
    """Close the listeners and wait until no request is active; return False when some still were at the timeout.

    With `notice` it goes on for a while before, and asks its callers with every answer (HTTP/1) or at once (HTTP/2) to
    connect anew, so that they come to another proxy on the same port instead of finding a closed connection.
    A proxy that does not answer any more counts as drained: nothing can be in flight through it.
    """
    try:
        async with asyncio.timeout(timeout):
            if notice:
                await http_request(how.admin_port, "/drain_listeners?graceful", method="POST")
                await asyncio.sleep(how.notice)
            await http_request(how.admin_port, "/drain_listeners", method="POST")
            while await _active_requests(how):  # noqa: ASYNC110 — another process has no Event
                await asyncio.sleep(_INTERVAL)
            await asyncio.sleep(how.linger)
    except TimeoutError:
        return False
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return True
    return True


async def _active_requests(how: Drain) -> int:
    # The filter keeps the answer small: Envoy has thousands of statistics.
    _, body = await http_request(how.admin_port, "/stats?usedonly&filter=downstream_rq_active")
    names = re.compile(how.listeners.encode())
    return sum(int(value) for name, value in _STATISTIC.findall(body) if names.search(name))
