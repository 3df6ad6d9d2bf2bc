"""Closed load on unary calls with nghttp2's `h2load`: the same client for HTTP/1.1 and gRPC, and for every server.

It is written in C and costs a few microseconds a request, so that on two cores the client takes next to nothing from
the server; a client in Python would take more than most servers do. gRPC is a POST over HTTP/2 whose body is a message
with a five-byte head. h2load sees HTTP's status only; that answers are no errors is seen by what the model executed
(`servers.Server.executed`) and by one call that is checked before.
"""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REPOSITORY = Path(__file__).parents[3]
_GRPC_HEADERS = {"content-type": "application/grpc", "te": "trailers"}
_MICROSECOND = 1e-6
_OK = "200"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post what."""

    address: str
    path: str
    body: bytes
    headers: Mapping[str, str]
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """What closed load saw: answers a second, seconds that each took, and how many were no 200."""

    rate: float
    latencies: tuple[float, ...]
    failed: int = 0


def grpc_target(address: str, path: str, message: bytes, metadata: Mapping[str, str]) -> Target:
    """Return the target of a unary gRPC call."""
    return Target(
        address, path, struct.pack(">BI", 0, len(message)) + message, {**_GRPC_HEADERS, **metadata}, http2=True
    )


def program() -> str:
    """Return where h2load is; raises FileNotFoundError with what to install."""
    extracted = _REPOSITORY / "build" / "debian" / "usr" / "bin" / "h2load"
    found = str(extracted) if extracted.exists() else shutil.which("h2load")
    if not found:
        raise FileNotFoundError("h2load is not installed: apt-get install nghttp2-client")
    return found


def load(target: Target, in_flight: int, seconds: float, warm_up: float = 1.0) -> Closed:
    """Keep `in_flight` requests going for `seconds` after a warm-up; raises RuntimeError with h2load's words."""
    with tempfile.TemporaryDirectory(prefix="candela-h2load-") as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(target.body)
        command = [program(), *_shape(target, in_flight), "-t", "1", "-d", str(body), f"--log-file={log}"]
        command += ["-D", f"{seconds * 1000:.0f}ms", f"--warm-up-time={warm_up * 1000:.0f}ms"]
        for name, value in target.headers.items():
            command += ["-H", f"{name}: {value}"]
        done = subprocess.run(
            [*command, f"http://{target.address}{target.path}"],
            capture_output=True,
            text=True,
            timeout=seconds + warm_up + 30,
            check=False,
        )
        rows = log.read_text(encoding="ascii") if log.exists() else ""
    if done.returncode or not rows:
        raise RuntimeError(f"h2load: {done.stdout[-500:]} {done.stderr[-500:]}")
    return parse(done.stdout, rows)


def parse(output: str, log: str) -> Closed:
    """Read h2load's summary and its log: start in µs, status, µs taken, one answer a line."""
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", output)
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", output)
    if rate is None or counts is None:
        raise RuntimeError(f"h2load said something else than it used to: {output[-500:]}")
    rows = [line.split("\t") for line in log.splitlines()]
    good = tuple(int(row[2]) * _MICROSECOND for row in rows if row[1] == _OK)
    if not good:
        raise RuntimeError(f"no request was answered well: {output[-700:]}")
    failed = int(counts[1]) - int(counts[2])
    return Closed(float(rate[1]) * len(good) / (len(good) + failed), good, failed)


def _shape(target: Target, in_flight: int) -> list[str]:
    """Return the options for connections and requests on each: HTTP/1.1 has one, a gRPC channel many."""
    if not target.http2:
        return ["--h1", "-c", str(in_flight), "-m", "1"]
    connections = min(4, in_flight)
    return ["-c", str(connections), "-m", str(in_flight // connections)]
