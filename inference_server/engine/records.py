"""What statistics and traces are told of a batch."""

from collections import defaultdict

from inference_server.engine.instances import Outcome
from inference_server.reporting import BatchRecord
from services.kit.errors import CandelaError


def record_of(outcome: Outcome) -> BatchRecord:
    """Return the record of a batch that is over."""
    batch, began = outcome.batch, outcome.began
    waits = [began - ticket.arrived for ticket in batch]
    tenants: dict[str, int] = defaultdict(int)
    for ticket in batch:
        tenants[ticket.tenant] += 1
    record = BatchRecord(
        instance=outcome.instance,
        bucket=batch[0].bucket,
        waits=waits,
        compute=outcome.ended - began,
        began_ns=outcome.began_ns,
        failed=0,
        tenants=tenants,
        spans=[ticket.payload[0].work.span for ticket in batch],
    )
    if len(tenants) > 1:
        waited: dict[str, float] = defaultdict(float)
        for ticket, wait in zip(batch, waits, strict=True):
            waited[ticket.tenant] += wait
        record.waited = waited
    _count_failures(outcome, record)
    return record


def _count_failures(outcome: Outcome, record: BatchRecord) -> None:
    failures: dict[str, int] = defaultdict(int)
    for ticket, result in zip(outcome.batch, outcome.results, strict=True):
        if isinstance(result, CandelaError):
            failures[ticket.tenant] += 1
            result.__traceback__ = None  # its frames hold the batch's inputs
    if failures:
        record.failed = sum(failures.values())
        record.failures = failures
