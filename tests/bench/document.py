"""Turns the records of all benches into the terminal's table and into docs/benchmarks.md."""

from collections.abc import Sequence

from tests.bench.figures import Record, table
from tests.bench.machine import cores, facts

_HEADINGS = ("", "bar", "figure", "spread (runs)", "verdict")
# Above this load per core before a bench begins, what it measures is somebody else's work too.
_BUSY = 0.5

_INTRODUCTION = """\
# Benchmarks

Written by `make bench`; edits are lost with its next run. Each section says how its figures came about, when, at
which commit and how busy the machine was before (a load above half of the cores is marked: then others' work is in
the times). A figure is the median of its runs unless its line says "worst"; the spread gives the smallest and the
largest run and how many there were. `make bench ONLY=name` repeats one.
"""


def show(record: Record) -> str:
    """Return a bench's outcome for a terminal."""
    lines = [f"── {record.name} ── {record.seconds:.0f} s, load before {record.load_before:.1f}{_busy(record)}"]
    if record.failure:
        lines.append(f"   failed: {record.failure}")
    if record.outcome.figures:
        lines += [f"   {line}" for line in table([_HEADINGS, *_rows(record)])]
    lines += [f"   {line}" for line in ("", *record.outcome.details)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def document(records: Sequence[Record]) -> str:
    """Return the Markdown document."""
    parts = [_INTRODUCTION, *(f"- **{name}**: {fact}" for name, fact in facts()), "", "## Bars", ""]
    bars = [row for record in records for row in _rows(record) if row[1]]
    parts += _markdown([_HEADINGS, *bars])
    for record in records:
        parts += ["", f"## {record.name}", "", record.how.strip(), ""]
        parts += [_circumstances(record), ""]
        if record.failure:
            parts += [f"**Failed**: {record.failure}", ""]
        if record.outcome.figures:
            parts += _markdown([_HEADINGS, *_rows(record)])
        if record.outcome.details:
            parts += ["", "```text", *record.outcome.details, "```"]
    return "\n".join(parts) + "\n"


def _circumstances(record: Record) -> str:
    return (
        f"Measured {record.began} at commit {record.commit} by `make bench ONLY={record.name}`, or as a part of "
        f"`make bench`, in {record.seconds:.0f} s; load before {record.load_before:.1f}{_busy(record)}."
    )


def _rows(record: Record) -> list[tuple[str, ...]]:
    return [
        (f"{figure.what}, worst" if figure.judged == "worst" else figure.what, *figure.row()[1:])
        for figure in record.outcome.figures
    ]


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return [head, "|---|" + "---:|" * (len(rows[0]) - 2) + "---|", *body]


def _busy(record: Record) -> str:
    return " (the machine was BUSY)" if record.load_before > _BUSY * cores() else ""
