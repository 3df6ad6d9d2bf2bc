"""What callers are told whose work does not wait, or waits no longer."""

from inference_server.batching.lanes import Store
from services.kit.errors import DeadlineExceeded, ResourceExhausted

_SHORTEST_HINT, _LONGEST_HINT = 0.02, 30.0


def expired() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed while the work waited for a batch")


def too_late(wait: float | None) -> ResourceExhausted:
    """Refuse what cannot end in time; in `wait` seconds it could, None for never: its time is too short."""
    return _overloaded("too_late", "the work cannot end before its deadline", wait)


def displaced(why: str, wait: float) -> ResourceExhausted:
    """End what made way for work of a higher priority, because it would be late (too_late) or for room (queue_full)."""
    return _overloaded("displaced", "the work made way for work of a higher priority", wait, why)


def no_room(store: Store, items: int, size: int, pace: float) -> ResourceExhausted:
    """Refuse what does not fit; `pace` is how many items leave in a second, 0.0 when nobody knows."""
    limits = store.limits
    excess = store.count + items - limits.max_items
    cause = "queue_full" if excess > 0 else "queue_bytes"
    if excess <= 0:
        mean = store.bytes / max(store.count, 1)
        excess = int((store.bytes + size - limits.max_bytes) / max(mean, 1.0)) + 1
    never = items > limits.max_items or size > limits.max_bytes
    wait = None if never else excess / pace if pace > 0.0 else 1.0
    text = f"the queue holds {store.count} items and has no room for {items} more"
    return _overloaded(cause, text, wait)


def over_share(wait: float) -> ResourceExhausted:
    return _overloaded("share", "the queue is contended and this tenant already holds its share of it", wait)


def _overloaded(cause: str, text: str, wait: float | None, why: str = "") -> ResourceExhausted:
    return ResourceExhausted(
        text,
        reason="OVERLOADED",
        metadata={"cause": cause, "displaced_by": why} if why else {"cause": cause},
        retry_after=None if wait is None else min(max(wait, _SHORTEST_HINT), _LONGEST_HINT),
    )
