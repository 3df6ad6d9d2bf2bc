"""How `make top` looks: tables that fit the terminal, columns that matter less leaving first."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from observability import names
from supervisor.top_figures import Calls, Latency, ModelFigures, ProcessFigures, RouteFigures, Window, gateways

_NOTHING = "–"
_MIB = 1024 * 1024
_BLOCKS = "▁▂▃▄▅▆▇█"
_STATES = {"ready": ("●", "green"), "starting": ("◐", "yellow"), "waiting": ("◌", "yellow")}
_BAD_STATE = ("●", "red")
SORTS = ("rate", "p99", "errors")


@dataclass(frozen=True, slots=True)
class Column:
    """A column. The higher its `rank`, the sooner it leaves a terminal that is too narrow; 0 never leaves."""

    title: str
    rank: int = 0
    text: bool = False
    """Left-aligned, and shortened rather than wrapped."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a person wants to see it. Sizes are in characters; `rows` None shows everything."""

    width: int
    rows: int | None
    sort: str
    history: Sequence[float]
    """Requests per second at the edge, oldest first."""
    live: bool


def view(window: Window, look: Look) -> RenderableType:
    """Return the whole screen."""
    parts: list[RenderableType] = [*_header(window, look), Text(""), _processes(window.processes(), look.width)]
    models = window.models()
    if models:
        parts += [Text(""), _models(models, look.width)]
    used = len(window.new.status.processes) + len(models) + (11 if models else 8)
    parts += [Text(""), _routes(window.routes(), look, None if look.rows is None else max(3, look.rows - used))]
    if look.live:
        parts += [_keys(look)]
    return Group(*parts)


def waiting(where: str) -> RenderableType:
    """Return what is shown while no mesh runs."""
    return Text.assemble(("○ ", "red"), f"no mesh runs on {where}; ", ("make run", "bold"), " starts one")


def _header(window: Window, look: Look) -> list[Text]:
    status, here = window.new.status, gateways(window.new)
    edge = window.edge(here)
    began = min((one.since for one in status.processes if one.since), default=window.new.wall)
    mark, colour = ("●", "green") if status.state == "ready" else ("◐", "yellow")
    over = f"over {window.seconds(began):.0f} s" if window.old else "since the start"
    title = Text.assemble(
        ("Candela ", "bold"), (f"{mark} {status.state}", colour),
        (f"  up {duration(window.new.wall - began)}  ports from {status.port_base}  figures {over}", "dim"),
        (time.strftime("  %H:%M:%S", time.localtime(window.new.wall)), "dim"),
    )  # fmt: skip
    facts = Text.assemble(
        ("edge ", "dim"), (f"{rate(edge.rate)}/s ", "bold cyan"), (spark(look.history, 20), "cyan"),
        *_fact("p50", milliseconds(edge.latency.p50)), *_fact("p95", milliseconds(edge.latency.p95)),
        *_fact("p99", milliseconds(edge.latency.p99)),
        *_fact("5xx", percent(edge.failed), alarming(edge.failed)), *_fact("4xx", percent(edge.refused)),
    )  # fmt: skip
    state = Text.assemble(
        ("users ", "dim"), (number(window.gauge(names.ACTIVE_USERS)), "bold"),
        *_fact("Redis", mebibytes(window.gauge(names.REDIS_MEMORY))),
        *_fact("database connections", number(window.total(names.DATABASE_CONNECTIONS))),
        *_fact("revocations read", age(window.gauge(names.REVOCATIONS_AGE))),
    )  # fmt: skip
    lines = [title, facts, state]
    for line in lines:
        line.truncate(look.width, overflow="ellipsis")
    return lines


def _fact(name: str, value: str, style: str = "bold") -> tuple[tuple[str, str], tuple[str, str]]:
    return (f"  {name} ", "dim"), (value, style)


_PROCESS_COLUMNS = (
    Column("process", text=True), Column("", text=True), Column("pid", 9), Column("up", 5), Column("restarts", 6),
    Column("CPU", 1), Column("MiB", 2), Column("calls/s", 3), Column("now", 8), Column("p50", 7), Column("p95", 4),
    Column("p99", 7), Column("failed", 5), Column("db", 8),
)  # fmt: skip


def _processes(figures: Sequence[ProcessFigures], width: int) -> Table:
    return table("", _PROCESS_COLUMNS, [_process_row(one) for one in figures], width)


def _process_row(one: ProcessFigures) -> list[Text]:
    status = one.status
    mark, colour = _STATES.get(status.state, _BAD_STATE)
    up = duration(time.time() - status.since) if status.since else _NOTHING
    return [
        Text(status.name, "bold"), Text(mark if status.state == "ready" else f"{mark} {status.state}", colour),
        Text(str(status.pid or _NOTHING), "dim"), Text(up), _count(status.restarts, "yellow"),
        Text(percent(one.cpu), "yellow" if one.cpu > 0.8 else ""), Text(mebibytes(one.memory, unit="")),
        Text(rate(one.calls.rate), "cyan"), Text(number(one.in_flight)), *_latency(one.calls.latency),
        Text(percent(one.calls.failed), alarming(one.calls.failed)), Text(number(one.connections)),
    ]  # fmt: skip


_MODEL_COLUMNS = (
    Column("model", text=True), Column("waiting", 1), Column("items/s", 2), Column("batch", 3), Column("best", 3),
    Column("queue p50", 7), Column("queue p95", 3), Column("p99", 8), Column("compute p50", 4),
    Column("compute p95", 6), Column("p99", 8), Column("failed/s", 5), Column("refused/s", 4),
)  # fmt: skip


def _models(models: Sequence[ModelFigures], width: int) -> Table:
    return table("inference", _MODEL_COLUMNS, [_model_row(one) for one in models], width)


def _model_row(one: ModelFigures) -> list[Text]:
    size = _NOTHING if math.isnan(one.batch_size) else f"{one.batch_size:.1f}"
    return [
        Text(one.model, "bold"), _count(one.waiting, "yellow"), Text(rate(one.items), "cyan"),
        Text(size), Text(number(one.best_size), "dim"), *_latency(one.queue), *_latency(one.compute),
        Text(rate(one.failed), alarming(one.failed)), Text(rate(one.refused), alarming(one.refused)),
    ]  # fmt: skip


_ROUTE_COLUMNS = (
    Column("edge", 1, text=True), Column("", text=True), Column("req/s"), Column("p50", 4), Column("p95", 3),
    Column("p99", 5), Column("4xx", 4), Column("5xx", 2),
)  # fmt: skip


def _routes(routes: list[RouteFigures], look: Look, rows: int | None) -> RenderableType:
    if not routes:
        return Text("no requests at the edge yet" if not look.live else "no requests at the edge just now", "dim")
    keys = {"rate": lambda one: one.calls.rate, "p99": lambda one: one.calls.latency.p99, "errors": _errors}
    key = keys[look.sort]
    ordered = sorted(routes, key=lambda one: -_known(key(one)))
    shown = ordered if rows is None else ordered[:rows]
    grid = table("", _ROUTE_COLUMNS, [_route_row(one) for one in shown], look.width)
    more = len(ordered) - len(shown)
    return Group(grid, Text(f"… and {more} more", "dim")) if more else grid


def _route_row(one: RouteFigures) -> list[Text]:
    calls = one.calls
    return [
        Text(one.method, "dim"), Text(one.endpoint), Text(rate(calls.rate), "cyan"), *_latency(calls.latency),
        Text(percent(calls.refused), "yellow" if calls.refused > 0 else "dim"),
        Text(percent(calls.failed), alarming(calls.failed)),
    ]  # fmt: skip


def _errors(one: RouteFigures) -> float:
    calls: Calls = one.calls
    return _known(calls.failed) * 1e6 + _known(calls.refused)


def _known(value: float) -> float:
    return -1.0 if math.isnan(value) else value


def _count(value: float, colour: str) -> Text:
    """Return a number that is worth a colour unless it is zero."""
    return Text(number(value), colour if value else "dim")


def _latency(latency: Latency) -> list[Text]:
    return [Text(milliseconds(value), heat(value)) for value in (latency.p50, latency.p95, latency.p99)]


def _keys(look: Look) -> Text:
    sorts = (part for sort in SORTS for part in ((f" {sort}", "bold" if sort == look.sort else "dim"),))
    return Text.assemble(("\nq", "bold"), (" quit  ", "dim"), ("s", "bold"), (" sort the edge by", "dim"), *sorts)


def table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> Table:
    """Return a table no wider than `width`: the columns of the highest rank left out until the others fit."""
    widths = [max(cell_len(column.title), *(row[at].cell_len for row in rows)) for at, column in enumerate(columns)]
    kept = list(range(len(columns)))
    gap = 2
    while sum(widths[at] + gap for at in kept) > width + gap:
        worst = max(kept, key=lambda at: (columns[at].rank, at))
        if not columns[worst].rank:
            break
        kept = [at for at in kept if columns[at].rank != columns[worst].rank]
    grid = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim", title=title or None)
    grid.title_justify, grid.title_style = "left", "dim italic"
    for at in kept:
        column = columns[at]
        grid.add_column(column.title, justify="left" if column.text else "right", no_wrap=True, overflow="ellipsis")
    for row in rows:
        grid.add_row(*(row[at] for at in kept))
    return grid


def spark(values: Sequence[float], width: int) -> str:
    """Return the last values as blocks, the highest as a full one."""
    last = [value for value in values[-width:] if not math.isnan(value)]
    top = max(last, default=0.0)
    return "".join(_BLOCKS[round(value / top * (len(_BLOCKS) - 1)) if top else 0] for value in last)


def rate(value: float) -> str:
    """Return a number per second, with as many digits as mean something."""
    if math.isnan(value):
        return _NOTHING
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, or in seconds from one on."""
    if math.isnan(seconds):
        return _NOTHING
    return (
        f"{seconds:.1f} s"
        if seconds >= 1
        else f"{seconds * 1000:.0f} ms"
        if seconds >= 0.01
        else f"{seconds * 1000:.1f} ms"
    )


def percent(part: float) -> str:
    """Return a part of one as a percentage; a small one never as nothing."""
    if math.isnan(part):
        return _NOTHING
    return "0 %" if part == 0 else "<0.1 %" if part < 0.001 else f"{part:.1%}".replace("%", " %")


def mebibytes(size: float, unit: str = " MiB") -> str:
    return _NOTHING if math.isnan(size) else f"{size / _MIB:.1f}{unit}"


def number(value: float) -> str:
    return _NOTHING if math.isnan(value) else f"{value:.0f}"


def age(seconds: float) -> str:
    """Return how long ago something was, `never` for -1."""
    if math.isnan(seconds):
        return _NOTHING
    return "never" if seconds < 0 else f"{seconds:.1f} s ago"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    minutes, hours, days = int(seconds) // 60, int(seconds) // 3600, int(seconds) // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{int(seconds)} s"


def heat(seconds: float) -> str:
    """Return the colour of a latency."""
    return "dim" if math.isnan(seconds) else "red" if seconds >= 5 else "yellow" if seconds >= 1 else ""


def alarming(part: float) -> str:
    """Return the colour of a part that failed."""
    return "dim" if math.isnan(part) or part == 0 else "bold red"
