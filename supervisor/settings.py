"""What the supervisor reads from its environment, once, and what it hands on to the processes it starts.

A plain frozen dataclass: the typed settings of the services need pydantic, which would cost the supervisor 20 MB and
0.2 s for three values.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from services.kit.ports_plan import DEFAULT_BASE, MOST_REPLICAS, PortPlan
from supervisor.datadir import DataDir

REPOSITORY = Path(__file__).resolve().parent.parent
_CLIENT_SOURCES = REPOSITORY / "clients" / "python" / "src"

_PASSED_NAMES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "USER", "LOGNAME"})
_PASSED_PREFIXES = ("CANDELA_", "OTEL_", "OPENBLAS", "OMP_", "MKL_", "NUMEXPR_", "ORT_", "GRPC_", "MALLOC_", "LC_")


class SettingsError(Exception):
    """An environment variable has a value that cannot be used; the message names it and says what is expected."""


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """The supervisor's own settings."""

    data: DataDir
    """CANDELA_DATA_DIR, default `.candela` in the repository: keys, databases, objects, logs, traces.

    CANDELA_KEYS_DIR, default `keys` in it, may put the keys elsewhere."""
    ports: PortPlan
    """CANDELA_PORT_BASE, default 8080: the edge port; every other port moves with it."""
    otlp_endpoint: str
    """CANDELA_OTLP_ENDPOINT, default the supervisor's own receiver: where all processes send their traces."""
    redis_url: str
    """CANDELA_REDIS_URL, default empty: the supervisor starts a Redis of its own."""
    inherited: Mapping[str, str]
    """The part of the environment that the processes see."""
    replicas: int = 1
    """CANDELA_REPLICAS, default 1: how many of each service and of Envoy run."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings. Raises SettingsError for a base port or a number of replicas that cannot be."""
        text = environment.get("CANDELA_PORT_BASE") or str(DEFAULT_BASE)
        if not text.isdecimal():
            raise SettingsError(f"CANDELA_PORT_BASE={text} is not usable: it must be a number such as {DEFAULT_BASE}")
        try:
            ports = PortPlan(int(text))
        except ValueError as error:
            raise SettingsError(f"CANDELA_PORT_BASE={text} is not usable: {error}") from error
        root = Path(environment.get("CANDELA_DATA_DIR") or REPOSITORY / ".candela").expanduser().absolute()
        keys = environment.get("CANDELA_KEYS_DIR")
        return cls(
            data=DataDir(root, Path(keys).expanduser().absolute() if keys else None),
            ports=ports,
            otlp_endpoint=environment.get("CANDELA_OTLP_ENDPOINT") or f"http://127.0.0.1:{ports.otlp}",
            redis_url=environment.get("CANDELA_REDIS_URL", ""),
            inherited=inherited_environment(environment),
            replicas=_replicas(environment.get("CANDELA_REPLICAS") or "1"),
        )


def _replicas(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_REPLICAS:
        raise SettingsError(f"CANDELA_REPLICAS={text} is not usable: one machine runs 1 or {MOST_REPLICAS} of each")
    return int(text)


def inherited_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that processes of the mesh may see: settings and tuning, never somebody's credentials."""
    passed = {
        name: value for name, value in environment.items() if name in _PASSED_NAMES or name.startswith(_PASSED_PREFIXES)
    }
    passed.setdefault("PATH", os.defpath)
    passed["PYTHONPATH"] = os.pathsep.join((str(REPOSITORY), str(_CLIENT_SOURCES)))
    passed["PYTHONUNBUFFERED"] = "1"
    passed["PYTHONUTF8"] = "1"
    # Many small arenas cost each threaded process tens of megabytes and bring these servers nothing.
    passed.setdefault("MALLOC_ARENA_MAX", "2")
    return passed


def python() -> str:
    """Return the interpreter that runs the supervisor, for the processes that are Python too."""
    return sys.executable
