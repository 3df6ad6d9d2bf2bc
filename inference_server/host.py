"""The models of one process: which are loaded, which one a call means, and how they come, are replaced, and go."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from opentelemetry.trace import Tracer

from inference_server.engine import Bounds, Engine
from inference_server.loading import Loader
from inference_server.models.catalogue import Task
from inference_server.models.device import Runtime
from inference_server.models.source import Listing, ModelSource
from inference_server.versions import REPLACED, UNLOADED, KnownModel, Slot, State, age_of
from services.kit.clock import Clock
from services.kit.errors import CandelaError, FailedPrecondition, NotFound, Unavailable

_LOG = logging.getLogger(__name__)

AnyEngine = Engine[Any, Any]
_Key = tuple[str, str]


class ModelHost:
    """Engines by name and version. Loop thread only; loading happens on threads.

    A model that replaces another is loaded and warm before it takes over; the other then finishes what it has. Whoever
    found it before may still give it work for `linger_seconds`, so nothing that was accepted fails.
    """

    def __init__(
        self,
        sources: Sequence[ModelSource],
        clock: Clock,
        tracer: Tracer,
        *,
        runtimes: Sequence[Runtime] = (Runtime(),),
        bounds: Bounds | None = None,
        memory_bytes: int = 0,
        drain_seconds: float = 30.0,
        linger_seconds: float = 1.0,
    ) -> None:
        """`bounds` are those of each engine's queue; 0 for `memory_bytes` is no bound."""
        self._loader = Loader(sources, clock, tracer, runtimes, bounds or Bounds(), memory_bytes)
        self._drain_seconds = drain_seconds
        self._linger_seconds = linger_seconds
        self._slots: dict[_Key, Slot] = {}
        self._found: dict[tuple[Task | None, str], AnyEngine] = {}  # answers of find and named; emptied by changes
        self._locks: dict[str, asyncio.Lock] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._loading: set[asyncio.Task[None]] = set()

    async def start(self, names: Iterable[str] | None = None, optional: Iterable[str] = ()) -> None:
        """Load and warm up the named models side by side, all that the sources have if None.

        Raises what the first one raises that fails. One of `optional` that fails is known as UNAVAILABLE, with why.
        """
        await self.scan()
        wanted = dict.fromkeys(slot.name for slot in self._slots.values()) if names is None else dict.fromkeys(names)
        for name in wanted:  # in this order, which decides about the default of a task
            self._locks[name] = asyncio.Lock()
        tolerated = [self._tolerant(name) for name in dict.fromkeys(optional) if name not in wanted]
        await asyncio.gather(*(self._bring(name, "") for name in wanted), *tolerated)

    async def close(self, seconds: float) -> None:
        """Take no more work and let all engines finish within `seconds`."""
        for work in self._loading:
            work.cancel()
        engines = [slot.engine for slot in self._slots.values() if slot.engine is not None]
        await asyncio.gather(*(engine.close(seconds) for engine in engines), *self._leaving)

    async def scan(self) -> None:
        """Look at the sources again for models that came or went."""
        listings = await asyncio.to_thread(self._loader.listings)
        for listing in listings:
            if not self._has(listing):
                self._slots[listing.name, listing.version] = Slot(listing.name, listing.version, listing.task)
        there = {(listing.name, listing.version) for listing in listings}
        for key, slot in list(self._slots.items()):
            if key not in there and slot.engine is None and slot.state is State.UNAVAILABLE:
                del self._slots[key]

    def index(self) -> list[KnownModel]:
        """Return every model known since the last scan, loaded or not, by name and version."""
        known = sorted(self._slots.values(), key=lambda slot: (slot.name, age_of(slot.version)))
        return [slot.known() for slot in known]

    def engines(self) -> list[AnyEngine]:
        """Return the engines that take work."""
        return [slot.serving() for slot in self._serving()]

    def find(self, task: Task, name: str) -> AnyEngine:
        """Return the engine of a task by the model's name or `name@version`, the default one for an empty name.

        The default of a task is its first model, in the newest version. Raises NotFound (MODEL_NOT_FOUND) for a name
        that is not known, Unavailable for one that is not loaded and when no model does the task here.
        """
        return self._found.get((task, name)) or self._searched(task, name, "")

    def named(self, name: str, version: str = "") -> AnyEngine:
        """Return the engine of a model whatever its task, the newest version if none is named; raises as `find`."""
        key = f"{name}@{version}" if version else name
        return self._found.get((None, key)) or self._searched(None, name, version)

    async def load(self, name: str, version: str = "") -> None:
        """Load a model, or load it again; without a version the newest one, which then replaces all others.

        Raises NotFound, ResourceExhausted for want of memory, FailedPrecondition when the model cannot be loaded. What
        runs already goes on running then. Once begun it goes on to its end, also when the caller goes away.
        """
        await self.scan()
        work = asyncio.create_task(self._bring(name, version))
        self._loading.add(work)
        work.add_done_callback(self._loaded)
        try:
            await asyncio.shield(work)
        except CandelaError:
            raise
        except Exception as error:
            raise FailedPrecondition(
                f"the model {name} cannot be loaded: {error}", metadata={"model": name, "version": version}
            ) from error

    async def unload(self, name: str, version: str = "") -> None:
        """Take a model out of service, all its versions if none is named; what it has it finishes in the background.

        Raises NotFound for a model that is not loaded.
        """
        slots = [slot for slot in self._serving() if slot.name == name and version in ("", slot.version)]
        if not slots:
            raise _not_found(f"{name}@{version}" if version else name, None, self._serving())
        for slot in slots:
            self._retire(slot, UNLOADED)

    async def settled(self) -> None:
        """Return when everything that was replaced or unloaded has ended."""
        while self._leaving:
            await asyncio.gather(*self._leaving)

    def _searched(self, task: Task | None, name: str, version: str) -> AnyEngine:
        slots = [slot for slot in self._serving() if task in (None, slot.task)]
        wanted = f"{name}@{version}" if version else name
        if not name and slots:
            names = list(self._locks)
            first = min(slots, key=lambda slot: names.index(slot.name)).name
            fitting = [slot for slot in slots if slot.name == first]
        else:
            fitting = [slot for slot in slots if wanted in (slot.name, f"{slot.name}@{slot.version}")]
        if not fitting:
            raise self._absent(wanted, task, slots)
        engine = max(fitting, key=lambda slot: age_of(slot.version)).serving()
        self._found[task, wanted] = engine
        return engine

    def _absent(self, wanted: str, task: Task | None, slots: Sequence[Slot]) -> CandelaError:
        if not wanted:
            return Unavailable(f"no model for {task} is loaded here", metadata={"task": str(task)})
        for slot in self._slots.values():
            if wanted in (slot.name, f"{slot.name}@{slot.version}") and task in (None, slot.task):
                known = slot.known()
                why = f": {known.reason}" if known.reason else ""
                return Unavailable(
                    f"the model {wanted} is {known.state}{why}", metadata={"model": wanted, "state": str(known.state)}
                )
        return _not_found(wanted, task, slots)

    async def _tolerant(self, name: str) -> None:
        try:
            await self._bring(name, "")
        except Exception as error:  # noqa: BLE001 - whatever a model raises, the others serve
            _LOG.error("the model %s is not loaded: %s", name, error)

    async def _bring(self, name: str, version: str) -> None:
        """Load a model and let it take over."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            slot = self._slot_to_load(name, version)
            try:
                loaded = await asyncio.to_thread(self._loader.load, name, version)
            except Exception as error:
                if slot is not None and slot.engine is None:
                    slot.state, slot.reason = State.UNAVAILABLE, str(error)
                raise
            engine = loaded.engine
            if slot is not None and slot.engine is None and slot.version != engine.card.version:
                self._slots.pop((name, slot.version), None)  # listed without its version
            engine.open()
            key = (name, engine.card.version)
            replaced = [
                other for other in self._serving() if other.name == name and (not version or other.version == key[1])
            ]
            for other in replaced:
                self._retire(other, REPLACED)
            self._slots[key] = Slot(name, engine.card.version, loaded.task, State.READY, engine=engine)
            self._found.clear()

    def _slot_to_load(self, name: str, version: str) -> Slot | None:
        fitting = [slot for slot in self._slots.values() if slot.name == name and version in ("", slot.version)]
        if not fitting:
            return None
        slot = max(fitting, key=lambda slot: age_of(slot.version))
        if slot.engine is None:
            slot.state, slot.reason = State.LOADING, ""
        return slot

    def _retire(self, slot: Slot, reason: str) -> None:
        """Let nobody find an engine any more, and end it when it has nothing left to do."""
        engine, slot.engine = slot.engine, None
        slot.state, slot.reason = State.UNLOADING, reason
        self._found.clear()
        if engine is not None:
            self._keep(self._end(slot, engine))

    async def _end(self, slot: Slot, engine: AnyEngine) -> None:
        await asyncio.sleep(self._linger_seconds)
        await engine.close(self._drain_seconds)
        slot.state = State.UNAVAILABLE

    def _loaded(self, work: asyncio.Task[None]) -> None:
        self._loading.discard(work)
        if not work.cancelled() and (error := work.exception()) is not None:
            _LOG.warning("a model is not loaded: %s", error)  # its caller may be gone

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _serving(self) -> list[Slot]:
        return [slot for slot in self._slots.values() if slot.engine is not None]

    def _has(self, listing: Listing) -> bool:
        """Whether a listing is known, also under the version that only its loaded model told."""
        if (listing.name, listing.version) in self._slots:
            return True
        return not listing.version and any(slot.name == listing.name for slot in self._slots.values())


def _not_found(wanted: str, task: Task | None, slots: Sequence[Slot]) -> NotFound:
    loaded = ", ".join(f"{slot.name}@{slot.version}" for slot in slots)
    return NotFound(
        f"no model {wanted!r}{f' for {task}' if task else ''} is loaded here; there are: {loaded or 'none'}",
        reason="MODEL_NOT_FOUND",
        metadata={"model": wanted, "task": str(task or ""), "loaded": loaded},
    )
