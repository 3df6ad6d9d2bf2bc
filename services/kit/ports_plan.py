"""Which process listens where on one machine. Every port moves together with the base port."""

from dataclasses import dataclass

DEFAULT_BASE = 8080
_ENVOY_ADMIN_AT_DEFAULT = 9901
_METRICS_AT_DEFAULT = 9464

# Offsets from the base port. Later services have their place already, so that none ever moves.
SERVICE_OFFSETS = {"user": 10, "recognition": 11, "inference": 12, "payment": 13, "generation": 14, "chat": 15}
_METRICS_ORDER = ("supervisor", "user", "recognition", "inference", "payment", "generation", "chat", "gateway")


@dataclass(frozen=True, slots=True)
class PortPlan:
    """The ports of one mesh on loopback.

    `base` is the edge port (8080 by default); all others follow from it, so two copies of the mesh run side by side
    when their bases are at least 40 apart.
    """

    base: int = DEFAULT_BASE

    def __post_init__(self) -> None:
        if not 1024 <= self.base <= 60000:
            raise ValueError(f"the base port must be between 1024 and 60000, got {self.base}")

    @property
    def edge(self) -> int:
        """Envoy's public listener: JSON, gRPC and gRPC-Web."""
        return self.base

    @property
    def internal(self) -> int:
        """Envoy's listener for calls between services."""
        return self.base + 1

    @property
    def envoy_admin(self) -> int:
        return _ENVOY_ADMIN_AT_DEFAULT + self.base - DEFAULT_BASE

    @property
    def redis(self) -> int:
        return self.base + 20

    @property
    def otlp(self) -> int:
        """The supervisor's receiver of OTLP/gRPC traces."""
        return self.base + 21

    def service(self, name: str) -> int:
        """Return the gRPC port of a service by its name, KeyError when there is no such service."""
        return self.base + SERVICE_OFFSETS[name]

    def metrics(self, name: str) -> int:
        """Return the Prometheus port of a process by its name."""
        return _METRICS_AT_DEFAULT + self.base - DEFAULT_BASE + _METRICS_ORDER.index(name)

    def all(self) -> dict[str, int]:
        """Return every port of the mesh by what listens there."""
        named = {"edge": self.edge, "internal": self.internal, "envoy-admin": self.envoy_admin}
        named |= {"redis": self.redis, "otlp": self.otlp}
        named |= {name: self.service(name) for name in SERVICE_OFFSETS}
        return named | {f"metrics-{name}": self.metrics(name) for name in _METRICS_ORDER}
