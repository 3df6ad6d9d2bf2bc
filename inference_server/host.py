"""The models of one process: which are loaded, which one a call means, and how they start and end together."""

import asyncio
from collections.abc import Iterable
from typing import Any

from opentelemetry.trace import Tracer

from inference_server.engine import Engine
from inference_server.models.catalogue import CATALOGUE, Task
from inference_server.models.device import Runtime
from inference_server.models.model import Model
from services.kit.clock import Clock
from services.kit.errors import NotFound, Unavailable


class ModelHost:
    """Engines by task; the first of a task is its default."""

    def __init__(
        self,
        models: Iterable[tuple[Task, Model[Any, Any]]],
        clock: Clock,
        tracer: Tracer,
        *,
        max_items: int = 4096,
        max_bytes: int = 512 * 1024 * 1024,
    ) -> None:
        """Make an engine for each model; the bounds are those of each engine's queue."""
        self._engines: dict[Task, list[Engine[Any, Any]]] = {}
        for task, model in models:
            engine = Engine(model, clock, tracer, max_items=max_items, max_bytes=max_bytes)
            self._engines.setdefault(task, []).append(engine)

    async def start(self) -> None:
        """Load and warm up all models, side by side; raises what the first one that fails raises."""
        await asyncio.gather(*(asyncio.to_thread(engine.start) for engine in self._all()))

    async def close(self, seconds: float) -> None:
        """Let all engines finish within `seconds`."""
        await asyncio.gather(*(asyncio.to_thread(engine.close, seconds) for engine in self._all()))

    def find(self, task: Task, name: str) -> Engine[Any, Any]:
        """Return the engine of a task by the model's name or `name@version`, the default one for an empty name.

        Raises NotFound (MODEL_NOT_FOUND) for a name that is not loaded, Unavailable when no model does the task here.
        """
        engines = self._engines.get(task, [])
        if not name and engines:
            return engines[0]
        if not name:
            raise Unavailable(f"no model for {task} is loaded here", metadata={"task": str(task)})
        for engine in engines:
            if name in (engine.card.name, engine.card.identity):
                return engine
        loaded = ", ".join(engine.card.identity for engine in engines)
        raise NotFound(
            f"no model {name!r} for {task} is loaded here; there are: {loaded or 'none'}",
            reason="MODEL_NOT_FOUND",
            metadata={"model": name, "task": str(task), "loaded": loaded},
        )

    def _all(self) -> list[Engine[Any, Any]]:
        return [engine for engines in self._engines.values() for engine in engines]


def create_models(names: Iterable[str], runtime: Runtime) -> list[tuple[Task, Model[Any, Any]]]:
    """Import and make the named models of the catalogue, not yet loaded; KeyError for a name that is not in it."""
    return [(CATALOGUE[name].task, CATALOGUE[name].create(runtime)) for name in names]
