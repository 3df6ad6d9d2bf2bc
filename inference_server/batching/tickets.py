"""What goes into a model's queue and what comes out of it: tickets, limits, batches, and refusals."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import inf
from typing import Any, Generic, TypeVar

from services.kit.errors import CandelaError

P = TypeVar("P")


class Priority(IntEnum):
    """What goes first. Strict: nothing of a lower priority is served, or kept, at the cost of a higher one."""

    LOW = 1
    NORMAL = 2
    HIGH = 3


@dataclass(slots=True, eq=False)
class Ticket(Generic[P]):
    """One waiting item: what it is, its shape key, its size in bytes, when it came and must be done, and whose it is.

    Times are in seconds of one monotonic clock; an item without a deadline has an infinite one. A ticket is offered to
    one queue, once.
    """

    payload: P
    bucket: Hashable
    size: int
    arrived: float
    deadline: float = inf
    priority: Priority = Priority.NORMAL
    tenant: str = ""
    # The queue's own: the lane the ticket waits in (None when it does not wait), and its place among equal deadlines.
    lane: Any = field(default=None, init=False, repr=False)
    order: int = field(default=0, init=False, repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model may take: items a batch, batches at a time, items and bytes in the queue.

    `weights` are the tenants' shares of the model, 1.0 for whoever is not named. A tenant counts as active for
    `activity` seconds after its last attempt. An idle model whose times were not confirmed for `probe_after` seconds
    runs what it would refuse by them, so that a wrong measurement locks nobody out.
    """

    max_batch: int
    instances: int = 1
    max_items: int = 4096
    max_bytes: int = 512 * 1024 * 1024
    weights: Mapping[str, float] = field(default_factory=dict)
    activity: float = 1.0
    probe_after: float = 5.0


@dataclass(frozen=True, slots=True)
class Ended(Generic[P]):
    """A ticket that left the queue without running, and what to tell its caller."""

    ticket: Ticket[P]
    error: CandelaError


@dataclass(frozen=True, slots=True)
class Taken(Generic[P]):
    """What a free instance is to run, of one bucket; and what ended meanwhile, expired or too late to be in time."""

    batch: Sequence[Ticket[P]]
    ended: Sequence[Ended[P]]
