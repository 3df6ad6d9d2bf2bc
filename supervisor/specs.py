"""The processes of the mesh, as data: what runs, how it is told its settings, how one knows that it is well.

A later service is one more entry in `_SERVICES`. Names are those of instances (`inference`, and with two replicas
`inference-2`), groups are what memory is summed by and what may stand in for each other.
"""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.kit.database_url import DatabaseUrl
from services.kit.migrations import MigrationError, is_current
from services.kit.ports_plan import instance_name
from supervisor.binaries import find
from supervisor.settings import REPOSITORY, SupervisorSettings, python

_HOST = "127.0.0.1"

# Stages of the start order; they stop from the highest down, so that the edge drains while its services still answer.
_STAGE_STATE, _STAGE_MODELS, _STAGE_SERVICES, _STAGE_EDGE = 0, 1, 2, 3

# How long a replica that ends still takes calls: Envoy asks for its health once a second and believes the second no.
_NOTICE_SECONDS = 1.6
# How long a service gives its calls in flight unless it is told otherwise, and what its own end may take after them.
_DRAIN_CALLS_SECONDS, _LAST_SECONDS = 10.0, 2.0
# How long an Envoy that ends tells its callers to connect anew before it closes its listeners.
DRAIN_SECONDS = 2


@dataclass(frozen=True, slots=True)
class GrpcHealth:
    """Healthy when `grpc.health.v1.Health/Check` of the whole server answers SERVING."""

    port: int


@dataclass(frozen=True, slots=True)
class RedisPing:
    """Healthy when Redis answers PING, after AUTH with the password in the file."""

    port: int
    password_file: Path


@dataclass(frozen=True, slots=True)
class HttpOk:
    """Healthy when `GET path` answers 200. With `tls` the certificate is not looked at: it may name another host."""

    port: int
    path: str
    host: str = _HOST
    tls: bool = False


Probe = GrpcHealth | RedisPing | HttpOk


@dataclass(frozen=True, slots=True)
class Step:
    """A command that must succeed once before a process starts. `needed` may find that there is nothing to do."""

    label: str
    argv: tuple[str, ...]
    needed: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class Drain:
    """How a proxy finishes what is in flight: close its listeners, wait until the active requests are gone."""

    admin_port: int
    listeners: str
    """Regular expression over Envoy's names of the statistics that count active requests."""
    notice: float = 0.0
    """Seconds for which it goes on and asks its callers to connect anew, where another takes their connections."""
    linger: float = 0.0
    """Seconds between the end of the last request and SIGTERM: what the proxy still reports about it."""


@dataclass(frozen=True, slots=True)
class OwnLog:
    """A log file that a proxy writes itself and opens anew when its admin port is told to."""

    path: Path
    admin_port: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of the mesh."""

    name: str
    argv: tuple[str, ...]
    probe: Probe
    address: str
    """Where it is reached, for people."""
    stage: int
    group: str = ""
    env: dict[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    depends_on: tuple[str, ...] = ()
    drain: Drain | None = None
    ports: tuple[str, ...] = ()
    """Names in the port plan that must be free before the start."""
    grace: float = 12.0
    """Seconds it has to finish after SIGTERM; the services themselves give calls in flight 10."""
    own_log: OwnLog | None = None
    renewable: bool = False
    """Whether a rolling restart may end it and start it again: what holds state may not."""


@dataclass(frozen=True, slots=True)
class _Service:
    """A Python gRPC service."""

    name: str
    module: str
    stage: int
    migrates: bool = True


_SERVICES = (
    _Service("inference", "inference_server.main", _STAGE_MODELS, migrates=False),
    _Service("user", "services.user.main", _STAGE_SERVICES),
    _Service("recognition", "services.recognition.main", _STAGE_SERVICES),
)


def mesh_specs(settings: SupervisorSettings) -> tuple[ProcessSpec, ...]:
    """Return all processes of the mesh. Raises MissingProgramError when Envoy or Redis is nowhere."""
    redis = () if settings.redis_url else (_redis(settings),)
    replicas = range(1, settings.replicas + 1)
    services = tuple(_service(settings, service, replica) for service in _SERVICES for replica in replicas)
    return (*redis, *services, *(_envoy(settings, replica) for replica in replicas))


def common_environment(settings: SupervisorSettings) -> dict[str, str]:
    """Return the settings every process of the mesh shares; where the others are follows from the base port."""
    ports, data = settings.ports, settings.data
    redis_url = settings.redis_url
    if not redis_url:
        password = (data.keys / "redis.password").read_text().strip()
        redis_url = f"redis://:{password}@{_HOST}:{ports.redis}/0"
    return {
        **settings.inherited,
        "CANDELA_DATA_DIR": str(data.root),
        "CANDELA_KEYS_DIR": str(data.keys),
        "CANDELA_PORT_BASE": str(ports.base),
        "CANDELA_REPLICAS": str(settings.replicas),
        "CANDELA_OTLP_ENDPOINT": settings.otlp_endpoint,
        "CANDELA_REDIS_URL": redis_url,
    }


def _service(settings: SupervisorSettings, service: _Service, replica: int) -> ProcessSpec:
    """Return the spec of one replica of a service; of one that keeps a database, the first migrates it."""
    ports, argv, name = settings.ports, (python(), "-m", service.module), instance_name(service.name, replica)
    migrate = Step(f"migrate {name}", (*argv, "migrate"), partial(_must_migrate, settings, service.name))
    redis = () if settings.redis_url else ("redis",)
    return ProcessSpec(
        name=name,
        argv=argv,
        env={
            "CANDELA_LISTEN": f"{_HOST}:{ports.service(name)}",
            "CANDELA_METRICS_PORT": str(ports.metrics(name)),
            **_notice(settings),
        },
        probe=GrpcHealth(ports.service(name)),
        address=f"{_HOST}:{ports.service(name)}",
        stage=service.stage,
        group=service.name,
        steps=(migrate,) if service.migrates and replica == 1 else (),
        # The first one runs on a database that is up to date, so the second has nothing to wait for but it.
        depends_on=redis if replica == 1 else (*redis, service.name),
        ports=(name, f"metrics-{name}"),
        grace=_grace(settings),
        renewable=True,
    )


def _notice(settings: SupervisorSettings) -> dict[str, str]:
    """Return how long a replica that ends still takes calls: not at all where nobody else could."""
    name = "CANDELA_DRAIN_NOTICE_SECONDS"
    return {name: str(_NOTICE_SECONDS)} if settings.replicas > 1 and not settings.inherited.get(name) else {}


def _grace(settings: SupervisorSettings) -> float:
    """Return how long a service may take to end: what it gives its calls, the notice before it, and two seconds."""
    drain = _seconds(settings.inherited.get("CANDELA_DRAIN_SECONDS"), _DRAIN_CALLS_SECONDS)
    notice = _seconds(settings.inherited.get("CANDELA_DRAIN_NOTICE_SECONDS"), _NOTICE_SECONDS)
    return drain + (notice if settings.replicas > 1 else 0.0) + _LAST_SECONDS


def _seconds(text: str | None, default: float) -> float:
    """Read a setting that is the service's: what it refuses there does not matter here."""
    try:
        return float(text) if text else default
    except ValueError:
        return default


def _must_migrate(settings: SupervisorSettings, service: str) -> bool:
    """Say whether a service's database may need its migrations.

    The embedded database is asked here, in a millisecond: starting Python only to find nothing to do would cost every
    start 0.3 s of CPU per service. A database server is the service's own business.
    """
    named = (f"CANDELA_{service.upper()}_{what}" for what in ("DATABASE_URL", "SHARDS"))
    if any(settings.inherited.get(name) for name in named):
        return True
    file = settings.data.db / f"{service}.sqlite3"
    try:
        return not is_current(
            DatabaseUrl(f"sqlite+aiosqlite:///{file}"), REPOSITORY / "services" / service / "migrations"
        )
    except (MigrationError, ValueError, sqlite3.Error):
        return True  # The migration says it better.


def _redis(settings: SupervisorSettings) -> ProcessSpec:
    config = settings.data.run / "redis.conf"
    return ProcessSpec(
        name="redis",
        argv=(str(find("redis-server")), str(config)),
        probe=RedisPing(settings.ports.redis, settings.data.keys / "redis.password"),
        address=f"{_HOST}:{settings.ports.redis}",
        stage=_STAGE_STATE,
        group="redis",
        ports=("redis",),
    )


def redis_config(settings: SupervisorSettings, password: str) -> str:
    """Return the configuration of the mesh's own Redis: loopback, a password, every write in the append-only file."""
    return "\n".join(
        (
            f"bind {_HOST}",
            f"port {settings.ports.redis}",
            f"requirepass {password}",
            f'dir "{settings.data.redis}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            # Revocations and counters live here: refuse writes when full, never forget silently.
            "maxmemory 256mb",
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        )
    )


# Envoy's own lines in the shape of every other log line; access log lines are JSON already.
_ENVOY_LOG = '{"timestamp":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","logger":"envoy.%n","message":"%j"}'


def _envoy(settings: SupervisorSettings, replica: int) -> ProcessSpec:
    """Return the spec of one Envoy. All of them listen on the same ports: the kernel deals the connections out."""
    ports, name, admin = settings.ports, instance_name("envoy", replica), settings.ports.admin(replica)
    config = settings.data.run / f"{name}.yaml"
    access_log = settings.data.logs / f"{instance_name('gateway-access', replica)}.log"
    workers = min(2, os.cpu_count() or 1)
    envoy = (str(find("envoy")), "-c", str(config), "--disable-hot-restart", "--concurrency", str(workers))
    drains = ("--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate")
    build = (python(), "-m", "gateway_envoy", "build", "--out", str(config))
    gateway = instance_name("gateway", replica)
    return ProcessSpec(
        name=name,
        argv=(*envoy, *drains, "--log-level", "warning", "--log-format", _ENVOY_LOG),
        env={"TZ": "UTC"} if replica == 1 else {"TZ": "UTC", **_second_gateway(settings, replica, access_log)},
        probe=HttpOk(admin, "/ready"),
        address=f"{_HOST}:{ports.edge}",
        stage=_STAGE_EDGE,
        group="envoy",
        steps=(Step("build the gateway's configuration", build),),
        # Envoy sends its spans every half second, and drops at its end those that it has not sent.
        drain=Drain(admin, r"^http\.(edge|internal).*downstream_rq_active$", DRAIN_SECONDS, linger=0.6),
        ports=("edge", "internal", "envoy-admin", "metrics-gateway") if replica == 1 else
        (f"envoy-admin-{replica}", f"metrics-{gateway}"),
        own_log=OwnLog(access_log, admin),
        renewable=True,
    )  # fmt: skip


def _second_gateway(settings: SupervisorSettings, replica: int, access_log: Path) -> dict[str, str]:
    """Return where another Envoy than the first differs from it."""
    own = {
        "CANDELA_GATEWAY_ADMIN_PORT": str(settings.ports.admin(replica)),
        "CANDELA_METRICS_PORT": str(settings.ports.metrics(instance_name("gateway", replica))),
    }
    if not settings.inherited.get("CANDELA_GATEWAY_ACCESS_LOG"):
        own["CANDELA_GATEWAY_ACCESS_LOG"] = str(access_log)
    return own


def edge_url(settings: SupervisorSettings) -> str:
    """Return the URL under which this machine reaches the edge."""
    front = front_probe(settings)
    host = f"[{front.host}]" if ":" in front.host else front.host
    return f"{'https' if front.tls else 'http'}://{host}:{front.port}"


def front_probe(settings: SupervisorSettings) -> HttpOk:
    """Return the probe that comes in as a client does: through the edge, wherever the settings put it."""
    host = settings.inherited.get("CANDELA_GATEWAY_HOST") or _HOST
    # The addresses that mean "everywhere" are no addresses to connect to.
    host = {"0.0.0.0": _HOST, "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound
    return HttpOk(settings.ports.edge, "/healthz", host, tls=bool(settings.inherited.get("CANDELA_GATEWAY_TLS_CERT")))
