"""Are the ports of a plan free, who holds those that are not, and which base would do."""

import errno
import socket
from collections.abc import Iterable

from services.kit.ports_plan import DEFAULT_BASE, PortPlan

_HOST = "127.0.0.1"
_BASE_STEP = 40
_LAST_BASE = 60000


def is_free(port: int) -> bool:
    """Say whether a server could listen on the port of loopback now. Connections that linger do not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # With REUSEADDR a port in TIME_WAIT is free; without REUSEPORT one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def find_free_base(start: int = DEFAULT_BASE, *, step: int = _BASE_STEP) -> int:
    """Return the first base at or above `start` whose whole plan is free.

    Nothing is reserved: another process may still take a port before it is used. Raises LookupError when no base is.
    """
    for base in range(start, _LAST_BASE, step):
        if all(is_free(port) for port in PortPlan(base).all().values()):
            return base
    raise LookupError(f"no free range of ports at or above {start}")


def busy_message(plan: PortPlan, names: Iterable[str]) -> str | None:
    """Return one line about the first port of `names` that is taken and how to move, None when all are free."""
    ports = plan.all()
    for name in names:
        if not is_free(ports[name]):
            hint = find_free_base(plan.base + _BASE_STEP)
            return (
                f"port {ports[name]} ({name}) is taken{_holder(ports[name])}. Stop that, or move all ports of this "
                f"mesh together: CANDELA_PORT_BASE={hint} make run"
            )
    return None


def _holder(port: int) -> str:
    """Return ` by NAME (pid N)` where the machine tells it, otherwise nothing."""
    import psutil  # noqa: PLC0415 — only a start that fails needs it

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        listening = connection.status == psutil.CONN_LISTEN
        if listening and connection.pid and connection.laddr and connection.laddr.port == port:
            return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""
