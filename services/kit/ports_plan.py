"""Which process listens where on one machine. Every port moves together with the base port."""

from dataclasses import dataclass

DEFAULT_BASE = 8080
_ENVOY_ADMIN_AT_DEFAULT = 9901
_METRICS_AT_DEFAULT = 9464

# Offsets from the base port. Later services have their place already, so that none ever moves.
SERVICE_OFFSETS = {"user": 10, "recognition": 11, "inference": 12, "payment": 13, "generation": 14, "chat": 15}
_METRICS_ORDER = ("supervisor", "user", "recognition", "inference", "payment", "generation", "chat", "gateway")

MOST_REPLICAS = 2
"""How many of each service one machine runs at most; more is for a cluster, where each has an address of its own."""
_SECOND = "-2"
_SECOND_FROM_FIRST = -8  # a second replica's port lies this far from the first one's: +2 … +7
_SECOND_METRICS = tuple(f"{name}{_SECOND}" for name in _METRICS_ORDER if name != "supervisor")


def instance_name(name: str, replica: int) -> str:
    """Return the name of a replica, counted from 1: `user`, `user-2`."""
    return name if replica == 1 else f"{name}-{replica}"


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
        return self.admin()

    def admin(self, replica: int = 1) -> int:
        """Return the admin port of an Envoy, counted from 1; all of them share the edge and the internal port."""
        return _ENVOY_ADMIN_AT_DEFAULT + self.base - DEFAULT_BASE + replica - 1

    @property
    def redis(self) -> int:
        return self.base + 20

    @property
    def otlp(self) -> int:
        """The supervisor's receiver of OTLP/gRPC traces."""
        return self.base + 21

    def service(self, name: str) -> int:
        """Return the gRPC port of a service, or of its second replica (`user-2`); KeyError when there is none."""
        if name.endswith(_SECOND):
            return self.base + SERVICE_OFFSETS[name.removesuffix(_SECOND)] + _SECOND_FROM_FIRST
        return self.base + SERVICE_OFFSETS[name]

    def addresses(self, name: str, replicas: int) -> tuple[str, ...]:
        """Return where the replicas of a service are: `127.0.0.1:8090`, `127.0.0.1:8082`."""
        return tuple(f"127.0.0.1:{self.service(instance_name(name, n))}" for n in range(1, replicas + 1))

    def metrics(self, name: str) -> int:
        """Return the Prometheus port of a process by its name (`user-2` for a second replica)."""
        return _METRICS_AT_DEFAULT + self.base - DEFAULT_BASE + (*_METRICS_ORDER, *_SECOND_METRICS).index(name)

    def all(self) -> dict[str, int]:
        """Return every port of the mesh by what listens there."""
        named = {"edge": self.edge, "internal": self.internal, "envoy-admin": self.envoy_admin}
        named |= {"envoy-admin-2": self.admin(2), "redis": self.redis, "otlp": self.otlp}
        named |= {name: self.service(name) for name in SERVICE_OFFSETS}
        named |= {name: self.service(name) for name in (f"{service}{_SECOND}" for service in SERVICE_OFFSETS)}
        return named | {f"metrics-{name}": self.metrics(name) for name in (*_METRICS_ORDER, *_SECOND_METRICS)}
