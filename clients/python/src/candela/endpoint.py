"""Where Candela is, and how the channel to it is made."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Final

import grpc

from candela.version import __version__

DEFAULT_ENDPOINT: Final = "localhost:8080"
ENVIRONMENT: Final = "CANDELA_ENDPOINT"

_MIB: Final = 1024 * 1024
# No retry policy is given to gRPC: it then re-sends only what the other side never saw, and the client's rules hold.
CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 256 * _MIB),
    ("grpc.max_send_message_length", 64 * _MIB),
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.primary_user_agent", f"candela-python/{__version__}"),
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to trust the other side: PEM certificates of authorities, None for those of the system."""

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address as gRPC takes it, and TLS, None for plaintext."""

    target: str
    tls: Tls | None


def resolve(address: str | None, tls: "Tls | bool | None") -> Endpoint:
    """Returns where to connect to.

    `address` is `host:port`, `http://host:port` or `https://host:port`; None for the environment variable
    CANDELA_ENDPOINT, or `localhost:8080`. `tls` None means plaintext on this machine and for `http://`, and TLS to
    everywhere else, since passwords travel here. Raises ValueError for anything else.
    """
    given = address or os.environ.get(ENVIRONMENT, "") or DEFAULT_ENDPOINT
    scheme, separator, rest = given.rpartition("://")
    if scheme not in ("", "http", "https") or (separator and not scheme):
        raise ValueError(f"an endpoint is host:port, http://host:port or https://host:port, not {given!r}")
    target = rest.rstrip("/")
    if not target or "/" in target:
        raise ValueError(f"an endpoint has no path, but {given!r} does")
    if not separator and tls is None:
        tls = not _on_this_machine(target)
    elif tls is None:
        tls = scheme == "https"
    if _without_port(target):
        target = f"{target}:{443 if tls else 80}"
    return Endpoint(target, (Tls() if tls is True else tls) or None)


def _on_this_machine(target: str) -> bool:
    host = target if _without_port(target) else target.rpartition(":")[0]
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _without_port(target: str) -> bool:
    return target.endswith("]") or ":" not in target
