"""How `make models` looks: the models of one inference server, and what their batches cost."""

from collections.abc import Mapping, Sequence

from google.protobuf.duration_pb2 import Duration
from rich.console import Group, RenderableType
from rich.text import Text

from candela.inference.v1 import model_pb2 as pb
from supervisor.top_view import Column, alarming, milliseconds, number, rate, table

Statistics = Mapping[str, pb.ModelStatistics]
"""By `name@version`, of the models that are loaded."""

_NOTHING = "–"
_MOST_SHAPES = 3
_STATES = {
    pb.MODEL_STATE_READY: ("● ready", "green"),
    pb.MODEL_STATE_LOADING: ("◐ loading", "yellow"),
    pb.MODEL_STATE_UNLOADING: ("◌ unloading", "yellow"),
    pb.MODEL_STATE_UNAVAILABLE: ("○ not loaded", "dim"),
}
_KINDS = pb.BatchInvariance

_COLUMNS = (
    Column("model", text=True), Column("", text=True), Column("task", 5, text=True), Column("runs on", 6, text=True),
    Column("instances", 7), Column("max", 3), Column("best", 2), Column("alone = in a batch", 3, text=True),
    Column("items", 2), Column("failed", 4), Column("refused", 4), Column("queue p95", 5), Column("batch p50", 5),
)  # fmt: skip
_COST_COLUMNS = (
    Column("shape", text=True), Column("batches"), Column("size"), Column("a batch"), Column("an item"),
    Column("items/s"), Column("", text=True),
)  # fmt: skip
_TENANT_COLUMNS = (
    Column("tenant", text=True), Column("done"), Column("failed"), Column("expired"), Column("displaced"),
    Column("cancelled"), Column("refused"), Column("waited"), Column("computed"),
)  # fmt: skip


def identity(model: pb.Model) -> str:
    return f"{model.name}@{model.version}" if model.version else model.name


def overview(models: Sequence[pb.Model], statistics: Statistics, width: int) -> RenderableType:
    """Return every model with its state, and what the loaded ones cost for their busiest shapes."""
    if not models:
        return Text("no models are known here: CANDELA_INFERENCE_MODELS names those to load", "dim")
    parts: list[RenderableType] = [
        table("", _COLUMNS, [_row(model, statistics.get(identity(model))) for model in models], width)
    ]
    parts += [Text.assemble((f"{identity(model)}: ", "bold"), model.reason) for model in models if _is_odd(model)]
    for model in models:
        had = statistics.get(identity(model))
        if had is not None and had.costs:
            parts += [Text(""), costs(had, width, _MOST_SHAPES)]
    return Group(*parts)


def details(model: pb.Model, had: pb.ModelStatistics, width: int) -> RenderableType:
    """Return everything that is known of one loaded model."""
    parts: list[RenderableType] = [table("", _COLUMNS, [_row(model, had)], width)]
    parts += [_tensors("needs", model.inputs), _tensors("gives", model.outputs), _sizes(had)]
    if had.refusals:
        reasons = ", ".join(f"{one.reason} {one.requests}" for one in had.refusals)
        parts += [Text.assemble(("requests refused  ", "dim"), reasons)]
    rows = [_tenant_row(one) for one in (*had.tenants, had.other_tenants) if _total(one.items)]
    if rows:
        parts += [Text(""), table("tenants", _TENANT_COLUMNS, rows, width)]
    return Group(*parts, Text(""), costs(had, width, len(had.costs)))


def costs(had: pb.ModelStatistics, width: int, most: int) -> RenderableType:
    """Return what batches of the busiest shapes cost, a line each size that was measured."""
    rows = []
    for shape in had.costs[:most]:
        for place, size in enumerate(shape.sizes):
            first = place == 0
            seconds = _seconds(size.compute)
            rows.append(
                [
                    Text(shape.shape if first else ""), Text(str(shape.batches) if first else "", "dim"),
                    Text(str(size.size)), Text(milliseconds(seconds)), Text(milliseconds(seconds / size.size)),
                    Text(rate(size.items_per_second), "cyan"),
                    Text("● best" if size.size == shape.best else "", "green"),
                ]
            )  # fmt: skip
        if shape.best and shape.best not in {size.size for size in shape.sizes}:
            rows.append(
                [Text(""), Text(""), Text(str(shape.best)), *[Text(_NOTHING)] * 3, Text("○ until measured", "dim")]
            )
    if not rows:
        return Text("nothing was measured yet", "dim")
    grid = table(f"what batches of {had.model} cost", _COST_COLUMNS, rows, width)
    more = len(had.costs) - most
    return Group(grid, Text(f"… and {more} more shapes: make models NAME={had.model}", "dim")) if more > 0 else grid


def _row(model: pb.Model, had: pb.ModelStatistics | None) -> list[Text]:
    state, colour = _STATES.get(model.state, (_NOTHING, ""))
    if _is_odd(model):
        state, colour = "● not ready", "red"
    loaded = model.max_batch > 0
    return [
        Text(identity(model), "bold"), Text(state, colour), Text(model.task or _NOTHING, "dim"),
        Text(f"{model.platform} {model.device}" if loaded else _NOTHING, "dim"),
        Text(str(model.instances) if loaded else _NOTHING), Text(str(model.max_batch) if loaded else _NOTHING),
        Text(str(model.best_batches[0].items) if model.best_batches else _NOTHING, "cyan"), _invariance(model),
        *_figures(had),
    ]  # fmt: skip


def _figures(had: pb.ModelStatistics | None) -> list[Text]:
    if had is None:
        return [Text(_NOTHING, "dim")] * 5
    items = had.items
    return [
        Text(number(items.done)), Text(number(items.failed), alarming(items.failed)),
        Text(number(items.refused), alarming(items.refused)),
        Text(milliseconds(_seconds(had.queue.p95)) if had.queue.count else _NOTHING),
        Text(milliseconds(_seconds(had.compute.p50)) if had.compute.count else _NOTHING),
    ]  # fmt: skip


def _is_odd(model: pb.Model) -> bool:
    """Whether a model does not answer for a reason that is worth a line."""
    return bool(model.reason) and model.state == pb.MODEL_STATE_UNAVAILABLE


def _invariance(model: pb.Model) -> Text:
    measured = model.invariance
    if not model.HasField("invariance") or not measured.comparisons:
        return Text("not measured", "dim")
    if measured.kind == _KINDS.KIND_EXACT:
        return Text("exact", "green")
    if measured.kind == _KINDS.KIND_TOLERANCE:
        return Text(f"within {measured.relative:.1g}")
    return Text("no", "yellow")


def _tensors(title: str, specs: Sequence[pb.TensorSpec]) -> Text:
    described = ", ".join(f"{one.name} {one.datatype}{list(one.shape)}" for one in specs)
    return Text.assemble((f"{title:<18}", "dim"), described or _NOTHING)


def _sizes(had: pb.ModelStatistics) -> Text:
    counts = ", ".join(f"{one.size} × {one.batches}" for one in had.sizes)
    return Text.assemble(("items × batches   ", "dim"), counts or _NOTHING)


def _tenant_row(one: pb.TenantStatistics) -> list[Text]:
    items = one.items
    counts = (items.done, items.failed, items.expired, items.displaced, items.cancelled, items.refused)
    times = (_seconds(one.queue), _seconds(one.compute))
    return [
        Text(one.tenant or "nobody"), *(Text(number(count), "" if count else "dim") for count in counts),
        *(Text(milliseconds(seconds)) for seconds in times),
    ]  # fmt: skip


def _total(items: pb.ItemCounts) -> int:
    return items.done + items.failed + items.expired + items.displaced + items.cancelled + items.refused


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
