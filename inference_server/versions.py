"""Which models a process knows, in which versions, and what state each is in."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from inference_server.engine import Engine
from inference_server.models.catalogue import Task


class State(StrEnum):
    """What a version of a model is doing, in the words of Triton's model repository."""

    UNAVAILABLE = "UNAVAILABLE"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"


# Why a model rests that somebody took out of service.
UNLOADED, REPLACED = "unloaded", "replaced by a newer version"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One version of a model; `reason` says why it is not ready, empty when there is nothing to say."""

    name: str
    version: str
    task: Task | None
    state: State
    reason: str = ""

    @property
    def wanted(self) -> bool:
        """Whether it is to answer: it does, or it cannot although nobody took it out of service."""
        if self.state is State.UNAVAILABLE:
            return self.reason not in ("", UNLOADED, REPLACED)
        return self.state is not State.UNLOADING


@dataclass(slots=True)
class Slot:
    """The place of one version: its engine while it serves, and its state."""

    name: str
    version: str
    task: Task | None
    state: State = State.UNAVAILABLE
    reason: str = ""
    engine: Engine[Any, Any] | None = None

    def serving(self) -> Engine[Any, Any]:
        """Return the engine of a slot that has one."""
        if self.engine is None:
            raise LookupError(f"{self.name}@{self.version} is {self.state}")
        return self.engine

    def known(self) -> KnownModel:
        """Return the slot's state as others see it: a model whose processes are all dead is not ready."""
        if self.engine is not None and self.state is State.READY and not self.engine.ready:
            reason = "the process of the model ended and is being started again"
            return KnownModel(self.name, self.version, self.task, State.UNAVAILABLE, reason)
        return KnownModel(self.name, self.version, self.task, self.state, self.reason)


def age_of(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key by which newer versions sort higher: numbers by value, 10 after 9, and everything else as text."""
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"\d+|[^\d.]+", version))
