"""Lets the Envoy of this container finish: `python drain.py ADMIN_PORT [SECONDS]`, before it gets SIGTERM (preStop).

For five seconds (`--drain-time-s` in gateway.sh) callers are told to connect elsewhere while new ones are still taken:
whoever balances needs a moment to learn that this gateway leaves. Then the listeners close, and it waits until nothing
is being answered any more, for so many seconds at most in all (20).
"""

import sys
import time
import urllib.request

_DRAIN_SECONDS = 5.0
_INTERVAL = 0.2
_TIMEOUT = 2.0


def main(port: int, longest: float = 20.0) -> int:
    """Drain and wait; exit status 0 when nothing was cut, 1 when time ran out."""
    admin = f"http://127.0.0.1:{port}"
    end = time.monotonic() + longest
    try:
        _ask(f"{admin}/drain_listeners?graceful", "POST")
        time.sleep(_DRAIN_SECONDS + _INTERVAL)
        while _active(admin):
            if time.monotonic() > end:
                return 1
            time.sleep(_INTERVAL)
    except OSError:
        return 0  # Envoy is gone already: there is nothing left to wait for
    return 0


def _active(admin: str) -> int:
    """Return how many requests are being answered at the edge."""
    lines = _ask(f"{admin}/stats?filter=^http.edge.downstream_rq_active$", "GET").splitlines()
    return sum(int(line.rpartition(":")[2]) for line in lines)


def _ask(url: str, method: str) -> str:
    request = urllib.request.Request(url, method=method)  # noqa: S310 - the admin page of this container
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - as above
        return str(answer.read().decode())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *map(float, sys.argv[2:3])))
