"""A bar that is missed must be seen as missed."""

import pytest

from tests.bench.document import document, show
from tests.bench.figures import Figure, Outcome, Record, percentile


def record(*figures: Figure, failure: str = "", load: float = 0.1) -> Record:
    return Record("start", "How.", Outcome(figures, ("details",)), "2026-01-01 00:00 UTC", 1.0, load, "abc", failure)


@pytest.mark.parametrize(
    ("figure", "value", "met"),
    [
        (Figure("start", "s", (1, 2, 9), at_most=2), 2, True),
        (Figure("start", "s", (1, 2, 9), at_most=1.9), 2, False),
        (Figure("start", "s", (1, 2, 9), at_most=2, judged="worst"), 9, False),
        (Figure("right", "%", (97, 99, 100), at_least=98), 99, True),
        (Figure("right", "%", (97, 99, 100), at_least=98, judged="worst"), 97, False),
        (Figure("writes", "/s", (1, 2, 9)), 2, None),
    ],
)
def test_what_counts_and_whether_it_is_enough(figure: Figure, value: float, met: bool | None) -> None:
    assert figure.value == value
    assert figure.met is met


def test_a_figure_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Figure("start", "s", ())


def test_a_row_shows_bar_figure_spread_and_verdict() -> None:
    row = Figure("start", "s", (1, 2, 9), at_most=1.9).row()
    assert row == ("start", "≤ 1.9 s", "2.00 s", "1.00 … 9.00 (3)", "MISS")


def test_a_bench_is_good_when_it_ended_and_missed_nothing() -> None:
    good, bad = Figure("a", "s", (1,), at_most=2), Figure("b", "s", (3,), at_most=2)
    assert record(good).met
    assert not record(good, bad).met
    assert not record(good, failure="ConnectError").met


def test_a_record_survives_its_file() -> None:
    before = record(Figure("a", "s", (1.5, 2.5), at_most=2, judged="worst", digits=1), failure="why")
    assert Record.from_json(before.to_json()) == before


def test_terminal_and_document_show_misses_failures_and_a_busy_machine() -> None:
    bad = record(Figure("b", "s", (3.0,), at_most=2), failure="why", load=99.0)
    for text in (show(bad), document([bad])):
        for part in ("≤ 2 s", "3.00 s", "MISS", "why", "BUSY", "details"):
            assert part in text


def test_a_percentile_is_one_of_the_values() -> None:
    assert [percentile([3, 1, 2, 4], percent) for percent in (0, 50, 99, 100)] == [1, 3, 4, 4]
