"""Models, their statistics and their costs as messages of candela.inference.v1."""

from collections.abc import Hashable, Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from candela.inference.v1 import model_pb2 as pb
from inference_server import names
from inference_server.batching.costs import BucketCosts
from inference_server.engine.invariance import Invariance, Kind
from inference_server.models.model import TensorSpec
from inference_server.statistics import ModelStatistics, ShapeStatistics, Spread, TenantStatistics
from inference_server.versions import KnownModel, State

_STATES = {
    State.UNAVAILABLE: pb.MODEL_STATE_UNAVAILABLE,
    State.LOADING: pb.MODEL_STATE_LOADING,
    State.READY: pb.MODEL_STATE_READY,
    State.UNLOADING: pb.MODEL_STATE_UNLOADING,
}
_KINDS = {
    Kind.EXACT: pb.BatchInvariance.KIND_EXACT,
    Kind.TOLERANCE: pb.BatchInvariance.KIND_TOLERANCE,
    Kind.NOT_INVARIANT: pb.BatchInvariance.KIND_NOT_INVARIANT,
}
_MOST_SHAPES = 256

Costs = Mapping[Hashable, BucketCosts]


def known_model(known: KnownModel) -> pb.Model:
    """Return what is known of a model whether it is loaded or not."""
    return pb.Model(
        name=known.name,
        version=known.version,
        state=_STATES[known.state],
        reason=known.reason,
        task=str(known.task or ""),
    )


def invariance_message(measured: Invariance) -> pb.BatchInvariance:
    return pb.BatchInvariance(
        kind=_KINDS[measured.kind],
        absolute=measured.absolute,
        relative=measured.relative,
        comparisons=measured.comparisons,
        largest_batch=measured.largest_batch,
    )


def tensor_message(spec: TensorSpec) -> pb.TensorSpec:
    return pb.TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def best_batches(had: ModelStatistics, costs: Costs) -> list[pb.BestBatch]:
    """Return the best size of each shape that was measured, the busiest shape first."""
    return [pb.BestBatch(shape=str(bucket), items=costs[bucket].best) for bucket in _ordered(had.shapes, costs)]


def statistics_message(model: str, had: ModelStatistics, costs: Costs) -> pb.ModelStatistics:
    """Return the statistics of a model that is named `name@version`."""
    message = pb.ModelStatistics(
        model=model,
        since=_time(had.since_ns),
        items=pb.ItemCounts(**had.items, refused=had.refused_items),
        refusals=[pb.Refusals(reason=reason, requests=count) for reason, count in sorted(had.refusals.items())],
        batches=had.batches,
        failed_batches=had.failed_batches,
        queue=_spread(had.queue),
        compute=_spread(had.compute),
        sizes=[
            pb.SizeStatistics(size=one.size, batches=one.batches, compute=_duration(one.seconds)) for one in had.sizes
        ],
        tenants=[_tenant(one) for one in sorted(had.tenants, key=lambda one: -one.total)],
        other_tenants=_tenant(had.forgotten_tenants),
        costs=_costs(had.shapes, costs),
        waiting_items=had.waiting_items,
        waiting_bytes=had.waiting_bytes,
    )
    if had.last_batch_ns:
        message.last_batch_time.CopyFrom(_time(had.last_batch_ns))
    return message


def _ordered(shapes: Sequence[ShapeStatistics], costs: Costs) -> list[Hashable]:
    """Return the shapes of the cost model, the busiest first."""
    items = {shape.bucket: shape.items for shape in shapes}
    return sorted(costs, key=lambda bucket: (-items.get(bucket, 0), str(bucket)))[:_MOST_SHAPES]


def _costs(shapes: Sequence[ShapeStatistics], costs: Costs) -> list[pb.ShapeCosts]:
    ran = {shape.bucket: shape for shape in shapes}
    messages = []
    for bucket in _ordered(shapes, costs):
        known, shape = costs[bucket], ran.get(bucket)
        sizes = [
            pb.SizeCost(
                size=size,
                compute=_duration(seconds),
                items_per_second=size / seconds if seconds else 0.0,
                samples=known.samples.get(size, 0),
            )
            for size, seconds in known.seconds.items()
        ]
        message = pb.ShapeCosts(shape=str(bucket), best=known.best, sizes=sizes, spread=known.spread)
        if shape is not None:
            message.batches, message.items = shape.batches, shape.items
        messages.append(message)
    return messages


def _tenant(one: TenantStatistics) -> pb.TenantStatistics:
    counts = {name: one.items.get(name, 0) for name in (*names.OUTCOMES, names.REFUSED)}
    return pb.TenantStatistics(
        tenant=one.tenant,
        items=pb.ItemCounts(**counts),
        queue=_duration(one.queue_seconds),
        compute=_duration(one.compute_seconds),
    )


def _spread(spread: Spread) -> pb.Spread:
    message = pb.Spread(count=spread.count, total=_duration(spread.seconds))
    if spread.count:
        message.p50.CopyFrom(_duration(spread.quantile(0.5)))
        message.p95.CopyFrom(_duration(spread.quantile(0.95)))
        message.p99.CopyFrom(_duration(spread.quantile(0.99)))
    for place, count in enumerate(spread.counts):
        bucket = message.buckets.add(count=count)
        if place < len(spread.bounds):
            bucket.at_most.CopyFrom(_duration(spread.bounds[place]))
    return message


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _time(nanoseconds: int) -> Timestamp:
    time = Timestamp()
    time.FromNanoseconds(nanoseconds)
    return time
