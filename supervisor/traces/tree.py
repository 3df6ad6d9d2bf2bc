"""One trace as a tree of rows: pure functions, so that what is shown is tested without a terminal."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from supervisor.traces.store import SpanRecord, Trace

_NS_PER_MS = 1e6

# Which attributes are worth a line's room, in this order, and what they are called there.
_SHOWN = {
    "http.request.method": "method",
    "http.url": "path",
    "url.path": "path",
    "http.response.status_code": "status",
    "http.status_code": "status",
    "rpc.response.status_code": "status",
    "response_flags": "flags",
    "upstream_cluster": "upstream",
    "candela.request_id": "request",
    "candela.inference.model": "model",
    "candela.inference.batch_size": "batch",
    "candela.inference.failed_items": "failed",
    "candela.inference.queue_ms": "queue_ms",
    "db.operation.name": "operation",
    "error.type": "error",
}
# What says that there is nothing to say.
_NOTHING = {("status", "OK"), ("failed", "0"), ("flags", "-")}


@dataclass(frozen=True, slots=True)
class Row:
    """One span in its place."""

    depth: int
    last: tuple[bool, ...]
    """For each level down to this row: is it the last of its brothers?"""
    span: SpanRecord
    offset_ms: float
    """Since the start of the trace; negative when a clock or a late parent says so."""
    duration_ms: float
    note: str
    """What is special: a missing parent, a link, an error."""
    attributes: tuple[tuple[str, str], ...]


def rows(trace: Trace, linking: Iterable[SpanRecord] = ()) -> list[Row]:
    """Return the spans of a trace as rows, parents before children, brothers by start time.

    A span whose parent is unknown becomes a root with a note. `linking` are spans of other traces that link to this
    one; each stands under the span it links to. Every span appears once, also when hostile parent ids form a ring.
    """
    children, roots = _arrange(trace)
    for span in linking:
        for target in dict.fromkeys(link.span_id for link in span.links if link.trace_id == trace.trace_id):
            if target in trace.spans:
                children[target].append(span)
    start = trace.start
    result: list[Row] = []
    seen: set[str] = set()
    # A stack and not recursion: 512 levels deep is legal.
    stack: list[tuple[SpanRecord, tuple[bool, ...]]] = [
        (root, (index == len(roots) - 1,)) for index, root in reversed(list(enumerate(roots)))
    ]
    while stack:
        span, last = stack.pop()
        foreign = span.trace_id != trace.trace_id
        if not foreign:
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
        result.append(_row(span, last, start, _note(span, trace, foreign=foreign)))
        below = [] if foreign else sorted(children[span.span_id], key=lambda child: child.start)
        stack += [(child, (*last, i == len(below) - 1)) for i, child in reversed(list(enumerate(below)))]
    return result


def guide(row: Row) -> str:
    """Return the lines that draw a row's place in the tree."""
    if row.depth == 0:
        return ""
    above = "".join("   " if last else "│  " for last in row.last[1:-1])
    return above + ("└─ " if row.last[-1] else "├─ ")


def _arrange(trace: Trace) -> tuple[defaultdict[str, list[SpanRecord]], list[SpanRecord]]:
    """Return the children of each span and the roots, sorted by start."""
    children: defaultdict[str, list[SpanRecord]] = defaultdict(list)
    roots = []
    for span in trace.spans.values():
        if span.parent_id in trace.spans and not _in_ring(span, trace):
            children[span.parent_id].append(span)
        else:
            roots.append(span)
    return children, sorted(roots, key=lambda span: span.start)


def _in_ring(span: SpanRecord, trace: Trace) -> bool:
    """Say whether following the parents leads back to the span itself."""
    visited = set()
    current = trace.spans.get(span.parent_id)
    while current is not None and current.span_id not in visited:
        if current.span_id == span.span_id:
            return True
        visited.add(current.span_id)
        current = trace.spans.get(current.parent_id)
    return False


def _row(span: SpanRecord, last: tuple[bool, ...], start: int, note: str) -> Row:
    present = ((short, span.attributes.get(key, "")) for key, short in _SHOWN.items())
    telling = ((short, value) for short, value in present if value not in span.name and (short, value) not in _NOTHING)
    shown = tuple((short, _rounded(value)) for short, value in telling)
    return Row(
        depth=len(last) - 1,
        last=last,
        span=span,
        offset_ms=(span.start - start) / _NS_PER_MS,
        duration_ms=(span.end - span.start) / _NS_PER_MS,
        note=note,
        attributes=shown,
    )


def _rounded(value: str) -> str:
    """Return a number with many decimals with one; other texts as they are."""
    whole, point, decimals = value.partition(".")
    many = point and len(decimals) > 1 and whole.isdecimal() and decimals.isdecimal()
    return f"{float(value):.1f}" if many else value


def _note(span: SpanRecord, trace: Trace, *, foreign: bool) -> str:
    notes = []
    if foreign:
        notes.append(f"linked from trace {span.trace_id[:8]}")
    elif span.parent_id and span.parent_id not in trace.spans:
        notes.append(f"parent {span.parent_id[:8]} not received")
    if span.failed:
        notes.append(f"ERROR {span.status_message}".strip())
    if len(span.links) > 1:
        notes.append(f"links {len(span.links)} spans of {len({link.trace_id for link in span.links})} traces")
    return ", ".join(notes)
