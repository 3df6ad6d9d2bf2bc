"""What a measurement gives: figures, the bars some of them must meet, and how far they spread."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: every value that was seen, and the bar for what counts, if there is one.

    `judged` says what counts and is shown as the figure: the median of the values, or the worst of them.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None
    judged: Literal["median", "worst"] = "median"
    digits: int = 2

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.what}: nothing was measured")

    @property
    def value(self) -> float:
        """What counts."""
        if self.judged == "median":
            return statistics.median(self.values)
        return min(self.values) if self.at_least is not None else max(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None when there is no bar."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.value >= self.at_least if self.at_least is not None else None

    def row(self) -> tuple[str, str, str, str, str]:
        """Return quantity, bar, figure, spread and verdict as text."""
        bar = ""
        if self.at_most is not None:
            bar = f"≤ {self.at_most:g} {self.unit}"
        elif self.at_least is not None:
            bar = f"≥ {self.at_least:g} {self.unit}"
        verdict = {True: "pass", False: "MISS", None: ""}[self.met]
        return self.what, bar, self._figure(), self._spread(), verdict

    def _figure(self) -> str:
        return f"{self.value:.{self.digits}f} {self.unit}"

    def _spread(self) -> str:
        if len(self.values) == 1:
            return "1 run"
        low, high = (f"{one:.{self.digits}f}" for one in (min(self.values), max(self.values)))
        middle = f", median {statistics.median(self.values):.{self.digits}f}" if self.judged == "worst" else ""
        return f"{low} … {high}{middle} ({len(self.values)})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one bench gave: its figures, and lines of text with the details behind them."""

    figures: tuple[Figure, ...]
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """An outcome with when, where and under what it was measured."""

    name: str
    how: str
    outcome: Outcome
    began: str
    seconds: float
    load_before: float
    commit: str
    failure: str = ""

    @property
    def met(self) -> bool:
        """Whether it ended and no bar was missed."""
        return not self.failure and all(figure.met is not False for figure in self.outcome.figures)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the record that `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        outcome = raw.pop("outcome")
        figures = tuple(Figure(**{**one, "values": tuple(one["values"])}) for one in outcome["figures"])
        return cls(**raw, outcome=Outcome(figures, tuple(outcome["details"])))


def table(rows: Sequence[Sequence[str]], *, text: int = 1) -> list[str]:
    """Return rows as aligned lines, the first `text` columns flush left and the others flush right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of the values lie (the nearest one of them)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
