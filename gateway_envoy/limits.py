"""The figures of the gateway, in one place: what is too large, too slow, too much. docs/gateway.md lists them."""

from dataclasses import dataclass
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

FILE_BYTES: Final = 32 * MIB
"""The largest file the contract takes in a message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. The defaults suit one machine; tests give shorter times."""

    file_body: int = -(-FILE_BYTES // 3) * 4 + 64 * KIB
    """Largest JSON body of a method that takes files: 32 MiB in base64 and room for the other fields."""
    body: int = MIB
    """Largest JSON body of every other method."""
    headers: int = 8 * KIB
    """All request headers together; gRPC servers begin to refuse beyond this."""
    header_count: int = 100
    unary: float = 60.0
    """Longest time for one answer; a caller asks for less with `grpc-timeout`."""
    file_unary: float = 600.0
    """The same for methods that take files: reading a long document takes minutes."""
    unary_slack: float = 1.0
    """How much longer the gateway waits than it tells the service, so that the service's own, richer error wins."""
    upload: float = 240.0
    """Longest time a request with one answer may take to arrive, on top of `unary`."""
    stream_idle: float = 90.0
    """Longest silence on a stream; services send a heartbeat at least every 30 s."""
    request_headers: float = 10.0
    """Longest time for a request's headers to arrive."""
    connection_idle: float = 300.0
    """How long a connection without requests is kept."""
    connections: int = 10_000
    """Connections from outside at one time."""
    streams_per_connection: int = 100
    buffer: int = 256 * KIB
    """What is buffered for one connection and direction before the sender is held back."""
    heap: int = 768 * MIB
    """Memory of the whole process. Near it new requests are refused, and those still arriving over HTTP/1.1."""
    connect: float = 1.0
    """Longest time to connect to a service."""
    upstream_requests: int = 10_000
    """Requests under way to one service at one time."""
    health_interval: float = 1.0
    """How often a healthy service is asked for its health."""
    health_interval_down: float = 0.25
    """How often a service that is down is asked."""
    compress_from: int = KIB
    """Smallest JSON body that is compressed."""
    document: int = 8 * MIB
    """Largest document served from a file, such as /openapi.json."""

    def answer(self, *, takes_files: bool) -> float:
        """Return the longest time for one answer of a method."""
        return self.file_unary if takes_files else self.unary


def duration(seconds: float) -> str:
    """Return a time as protobuf's JSON has it."""
    return f"{seconds:g}s"
