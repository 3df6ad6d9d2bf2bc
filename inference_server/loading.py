"""Makes an engine that is loaded and warm, within the memory that there is. Blocks: called on threads."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import Tracer

from inference_server.engine import Bounds, Engine
from inference_server.memory import resident_bytes
from inference_server.models.catalogue import Task
from inference_server.models.device import Runtime
from inference_server.models.source import Listing, ModelSource
from inference_server.models.weights import WeightsError
from inference_server.versions import age_of
from services.kit.clock import Clock
from services.kit.errors import NotFound, ResourceExhausted

_LOG = logging.getLogger(__name__)
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A warm engine that takes no work yet."""

    engine: Engine[Any, Any]
    task: Task | None


class Loader:
    """Finds models in their sources and loads them, one copy for each of `runtimes` (a device each)."""

    def __init__(
        self,
        sources: Sequence[ModelSource],
        clock: Clock,
        tracer: Tracer,
        runtimes: Sequence[Runtime],
        bounds: Bounds,
        memory_bytes: int,
    ) -> None:
        """With `memory_bytes` above 0, refuse what would make this process and its children larger than that."""
        self._sources = sources
        self._clock = clock
        self._tracer = tracer
        self._runtimes = runtimes
        self._bounds = bounds
        self._memory_bytes = memory_bytes
        self._growth: dict[str, int] = {}  # what a model needed when it was loaded last, by name

    def listings(self) -> list[Listing]:
        """Return everything that could be loaded now, in the order of the sources."""
        return [listing for source in self._sources for listing in self._entries(source)]

    def load(self, name: str, version: str) -> Loaded:
        """Make, load and warm up a model, the newest for an empty version.

        Raises NotFound, ResourceExhausted for want of memory, and what the model raises.
        """
        source, listing = self._found(name, version)
        before = self._check_memory(name)
        models = [source.create(listing.name, listing.version, runtime) for runtime in self._runtimes]
        engine: Engine[Any, Any] = Engine(models, self._clock, self._tracer, self._bounds)
        try:
            engine.load()
            self._note_memory(name, before)
        except BaseException:
            engine.discard()
            raise
        return Loaded(engine, listing.task)

    def _entries(self, source: ModelSource) -> Sequence[Listing]:
        """Return what a source has; a folder that cannot be read now takes nothing from the other sources."""
        try:
            return source.entries()
        except WeightsError as error:
            _LOG.error("a source of models cannot be read: %s", error)
            return ()

    def _found(self, name: str, version: str) -> tuple[ModelSource, Listing]:
        found = [
            (source, listing) for source in self._sources for listing in self._entries(source) if listing.name == name
        ]
        fitting = [pair for pair in found if not version or pair[1].version in (version, "")]
        if not fitting:
            wanted = f"{name}@{version}" if version else name
            raise NotFound(f"there is no model {wanted}", reason="MODEL_NOT_FOUND", metadata={"model": wanted})
        return max(fitting, key=lambda pair: age_of(pair[1].version))

    def _check_memory(self, name: str) -> int:
        """Refuse a load that needs more than is left, going by the last time; returns what is in use."""
        used = resident_bytes()
        if self._memory_bytes and used + self._growth.get(name, 0) >= self._memory_bytes:
            raise self._no_room(name, used, self._growth.get(name, 0))
        return used

    def _note_memory(self, name: str, before: int) -> None:
        used = resident_bytes()
        self._growth[name] = max(used - before, 0)
        if self._memory_bytes and used > self._memory_bytes:
            raise self._no_room(name, before, used - before)

    def _no_room(self, name: str, used: int, needed: int) -> ResourceExhausted:
        return ResourceExhausted(
            f"no memory for the model {name}: {used // _MIB} MiB are in use, it needs {needed // _MIB} MiB, and "
            f"CANDELA_INFERENCE_MEMORY_MIB allows {self._memory_bytes // _MIB} MiB",
            reason="OVERLOADED",
            metadata={"cause": "memory", "model": name},
        )
