"""Triton's statistics, made of a model's own.

They count items where Triton counts requests: a request of batch 8 is 8 successes. Times are of the model alone, so
what Triton tells apart as compute_input and compute_output is inside compute_infer.
"""

from typing import Any, Final

from inference_server import names
from inference_server.engine import Engine
from inference_server.statistics import ModelStatistics
from kserve import grpc_service_pb2

_NS: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_FAILURES: Final = (names.FAILED, names.EXPIRED, names.DISPLACED)
_Duration = grpc_service_pb2.StatisticDuration


def statistics_of(engine: Engine[Any, Any]) -> grpc_service_pb2.ModelStatistics:
    """Return what a model did since it was loaded.

    `success` are items that ran well, `fail` all others that ended but the cancelled: failed, expired, displaced by
    more urgent ones, refused on arrival. Those that were cancelled stand in `response_stats`, under "0", where Triton
    has them.
    """
    seen = engine.reporter.statistics()
    ran = seen.items[names.DONE] + seen.items[names.FAILED]
    compute = _Duration(count=ran, ns=seen.compute_ns)
    success = _Duration(count=seen.items[names.DONE], ns=seen.queue_ns + seen.compute_ns)
    fail = _Duration(count=sum(seen.items[outcome] for outcome in _FAILURES) + seen.refused_items)
    cancel = _Duration(count=seen.items[names.CANCELLED])
    responses = grpc_service_pb2.InferResponseStatistics(
        compute_infer=compute, success=success, fail=fail, cancel=cancel
    )
    return grpc_service_pb2.ModelStatistics(
        name=engine.card.name,
        version=engine.card.version,
        last_inference=seen.last_batch_ns // _NS_PER_MS,
        inference_count=seen.items[names.DONE],
        execution_count=seen.batches,
        inference_stats=grpc_service_pb2.InferStatistics(
            success=success,
            fail=fail,
            queue=_Duration(count=ran, ns=seen.queue_ns),
            compute_input=_Duration(count=ran),
            compute_infer=compute,
            compute_output=_Duration(count=ran),
        ),
        batch_stats=_batches(seen),
        response_stats={"0": responses},
    )


def _batches(seen: ModelStatistics) -> list[grpc_service_pb2.InferBatchStatistics]:
    return [
        grpc_service_pb2.InferBatchStatistics(
            batch_size=size.size,
            compute_input=_Duration(count=size.batches),
            compute_infer=_Duration(count=size.batches, ns=round(size.seconds * _NS)),
            compute_output=_Duration(count=size.batches),
        )
        for size in seen.sizes
    ]
