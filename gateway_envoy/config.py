"""Everything the builders need to know, resolved: addresses, files, methods, limits. No environment, no I/O."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from gateway_envoy.contract import Method
from gateway_envoy.limits import Limits

Json = dict[str, Any]
"""A piece of Envoy's configuration in protobuf's JSON form."""

_DEFAULT_PORTS: Final = {"http": 4317, "https": 4317}


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address. `host` is an IP address or a DNS name."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address of `host:port` or `[v6]:port`; raises ValueError for anything else."""
        parts = urlsplit(f"//{text}")
        if not parts.hostname or not parts.port or parts.path or parts.username:
            raise ValueError(f"{text!r} is no address of the form host:port")
        return cls(parts.hostname, parts.port)

    def envoy(self) -> Json:
        """Return Envoy's form."""
        return {"socket_address": {"address": self.host, "port_value": self.port}}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server of the mesh and the addresses it is reached at."""

    name: str
    endpoints: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class TraceReceiver:
    """Where spans go: OTLP over gRPC."""

    address: Address
    tls: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the receiver of `host:port` or an http(s) URL; raises ValueError for anything else."""
        scheme, separator, rest = text.rpartition("://")
        if separator and scheme not in _DEFAULT_PORTS:
            raise ValueError(f"{text!r}: OTLP over gRPC is reached by an http or https URL")
        rest = rest.rstrip("/")
        if separator and urlsplit(f"//{rest}").port is None:
            rest = f"{rest}:{_DEFAULT_PORTS[scheme]}"
        return cls(Address.parse(rest), tls=scheme == "https")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A document served at a path as it lies in a file when the gateway starts."""

    path: str
    file: Path
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    """More headers of its answer."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its key, PEM files."""

    certificate: Path
    key: Path

    def envoy(self) -> Json:
        """Return Envoy's form."""
        return {"certificate_chain": {"filename": str(self.certificate)}, "private_key": {"filename": str(self.key)}}


@dataclass(frozen=True, slots=True)
class MeshTls:
    """How services beyond this machine are reached: whom to believe, and what to show (mutual TLS)."""

    authorities: Path
    own: Tls | None


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One gateway. `methods` are those that the outside may call, `mesh_methods` all; both of deployed servers only."""

    edge: Address
    internal: Address
    admin: Address
    upstreams: tuple[Upstream, ...]
    methods: tuple[Method, ...]
    mesh_methods: tuple[Method, ...]
    descriptor_set: Path
    jwks: Path
    access_log: str
    metrics: Address | None = None
    """Where the Prometheus page is; nowhere if None."""
    traces: TraceReceiver | None = None
    sampling: float = 1.0
    """Part of new traces that is recorded, 0 to 1."""
    documents: tuple[StaticFile, ...] = ()
    tls: Tls | None = None
    """The edge's certificate; plain HTTP without."""
    mesh_tls: MeshTls | None = None
    """How the services are reached; plain without, which only loopback may be."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call from, exactly; empty for any port of this machine."""
    limits: Limits = field(default_factory=Limits)
