"""Where replicas are: addresses as they were given, or all that one DNS name gives, looked up again and again."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

from services.kit.channel import may_be_several

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


async def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses `ip:port` that the system's resolver gives for a name; OSError when it gives none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(_written(where[4][0], port) for where in found))


def _written(ip: str | int, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in str(ip) else f"{ip}:{port}"


class Addresses:
    """The replicas of one service. `changing` says whether there may be others later."""

    def __init__(self, given: Sequence[str], look_up: Lookup = look_up) -> None:
        """Take what the settings gave: several addresses, or one, which may be a name."""
        self.changing = len(given) == 1 and may_be_several(given)
        self._given = tuple(given)
        self._look_up = look_up

    @property
    def authority(self) -> str:
        """The name that replicas' certificates are for, where addresses are dialled that are not in them."""
        return self._given[0].rpartition(":")[0] if self.changing else ""

    async def now(self) -> tuple[str, ...]:
        """Return the replicas' addresses; OSError when the name gives none at the moment."""
        if not self.changing:
            return self._given
        host, _, port = self._given[0].rpartition(":")
        return tuple(await self._look_up(host, int(port)))
