"""`python -m supervisor trace [ID]`: the latest traces, or the tree of one with its times."""

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.datadir import DataDir
from supervisor.traces.store import StoredTraces, Trace, TraceStore
from supervisor.traces.tree import Row, guide, rows

_BAR_CELLS = 16
_SHORTEST_MS = 1e-6  # a nanosecond, the unit of the times: what is shorter has no length
_PLAIN_WIDTH = 180
# How the names of spans of JSON requests begin: what follows is a path, and may have dots of its own.
_VERBS = ("GET ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "HEAD ")


def show_traces(data: DataDir, prefix: str, *, count: int) -> int:
    """Print the list, or the one trace whose id begins with `prefix`; return the exit status."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    store = StoredTraces(data.traces).refresh()
    if not len(store):
        console.print(f"No trace is in {data.traces} yet. Send a request to the mesh, then look again in a second.")
        return 0 if not prefix else 1
    if not prefix:
        _print_list(console, store, count)
        return 0
    found = store.find(prefix)
    if len(found) == 1:
        print_tree(console, found[0], store)
        return 0
    if found:
        console.print(f"{len(found)} traces begin with {prefix}: " + ", ".join(t.trace_id for t in found[:5]))
    else:
        console.print(f"No trace of the last {len(store)} begins with {prefix}. The list: make trace")
    return 1


def _print_list(console: Console, store: TraceStore, count: int) -> None:
    table = Table(box=None, pad_edge=False)
    for title, justify in (
        ("time", "left"),
        ("trace", "left"),
        ("root", "left"),
        ("took", "right"),
        ("spans", "right"),
    ):
        table.add_column(title, justify="right" if justify == "right" else "left", no_wrap=title != "root")
    table.add_column("status")
    traces = store.latest(count)
    for trace in traces:
        status = Text("ERROR", style="red") if trace.failed else Text("ok", style="green")
        root = f"{trace.root.service} {short_name(trace.root.name)}"
        when = local_time(trace.start).strftime("%H:%M:%S.%f")[:-3]
        took = milliseconds((trace.end - trace.start) / 1e6)
        table.add_row(when, Text(trace.trace_id, style="cyan"), Text(root), took, str(len(trace.spans)), status)
    console.print(table)
    console.print(f"\n{len(traces)} of {len(store)} traces. One as a tree: make trace ID={traces[0].trace_id[:8]}")


def print_tree(console: Console, trace: Trace, store: TraceStore) -> None:
    """Print a trace with its times, a bar for where in the trace each span lies, and what is special about it."""
    services = {span.service for span in trace.spans.values()}
    total = (trace.end - trace.start) / 1e6
    when = local_time(trace.start).strftime("%Y-%m-%d %H:%M:%S")
    console.print(
        Text.assemble("trace ", (trace.trace_id, "bold cyan"), f"  {when}  {milliseconds(total)}  "),
        f"{len(trace.spans)} spans  {len(services)} services\n",
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("span", no_wrap=True, overflow="ellipsis", min_width=24)
    table.add_column("service", no_wrap=True, style="magenta")
    table.add_column("start", justify="right", no_wrap=True, min_width=9)
    table.add_column("took", justify="right", no_wrap=True, min_width=8, style="bold")
    table.add_column("", no_wrap=True, min_width=_BAR_CELLS, style="blue")
    table.add_column("", overflow="fold", min_width=24)
    for row in rows(trace, store.linking_to(trace)):
        name = Text.assemble((guide(row), "dim"), (short_name(row.span.name), "red" if row.span.failed else ""))
        start = f"{row.offset_ms:+.1f} ms"
        bar = waterfall(row.offset_ms, row.duration_ms, total)
        table.add_row(name, row.span.service, start, milliseconds(row.duration_ms), bar, _details(row))
    console.print(table)


def _details(row: Row) -> Text:
    text = Text()
    if row.note:
        text.append(row.note, style="red" if row.span.failed else "yellow")
        text.append("  ")
    text.append("  ".join(f"{key}={value}" for key, value in row.attributes), style="dim")
    return text


def short_name(name: str) -> str:
    """Return the name of a call without its package: `OcrService/DetectText`. Other names stay as they are."""
    package, dot, method = name.rpartition(".")
    return method if dot and "/" in method and not package.startswith(_VERBS) else name


def local_time(nanoseconds: int) -> datetime:
    """Return a time in the zone of the person who looks; a sender's nonsense becomes the end of time."""
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)


def milliseconds(value: float) -> str:
    """Return a duration for people: `0.42 ms`, `12.3 ms`, `1.24 s`."""
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def waterfall(offset_ms: float, duration_ms: float, total_ms: float) -> str:
    """Return a bar that shows where in the trace a span lies; at least one cell long, always of the same width."""
    if total_ms < _SHORTEST_MS:
        return "·" * _BAR_CELLS
    begin = min(max(int(offset_ms / total_ms * _BAR_CELLS), 0), _BAR_CELLS - 1)
    length = max(round(duration_ms / total_ms * _BAR_CELLS), 1)
    end = min(begin + length, _BAR_CELLS)
    return "·" * begin + "━" * (end - begin) + "·" * (_BAR_CELLS - end)
