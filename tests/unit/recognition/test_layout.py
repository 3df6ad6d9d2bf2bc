"""Reading order: what a person would read first comes first, whatever order the lines were found in."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recognition.domain.documents import Box, Line, Point, Word
from services.recognition.domain.layout import reading_order

HEIGHT = 30.0


def line(text: str, left: float, top: float, width: float, height: float = HEIGHT) -> Line:
    box = Box.upright(left, top, left + width, top + height)
    return Line(box, (Word(text, 0.9, box),))


def read(lines: list[Line]) -> list[str]:
    return [found.text for block in reading_order(lines) for found in block.lines]


def column(prefix: str, left: float, top: float, count: int, width: float = 500) -> list[Line]:
    """A paragraph's lines: all full, the last one short."""
    widths = [width] * (count - 1) + [width / 2]
    return [line(f"{prefix}{i}", left, top + 40 * i, w) for i, w in enumerate(widths)]


def shuffled(lines: list[Line]) -> list[Line]:
    copy = list(lines)
    random.Random(7).shuffle(copy)
    return copy


def test_one_column_reads_from_top_to_bottom() -> None:
    page = column("a", 100, 100, 5)
    assert read(shuffled(page)) == [f"a{i}" for i in range(5)]


def test_two_columns_read_one_after_the_other_although_their_lines_are_level() -> None:
    left, right = column("l", 100, 100, 8), column("r", 650, 100, 8)
    assert read(shuffled(left + right)) == [f"l{i}" for i in range(8)] + [f"r{i}" for i in range(8)]


def test_a_heading_over_two_columns_comes_first_and_a_footer_last() -> None:
    left, right = column("l", 100, 200, 6), column("r", 650, 200, 6)
    heading, footer = line("title", 100, 100, 1050), line("footer", 100, 600, 1050)
    assert read(shuffled([*left, *right, heading, footer])) == [
        "title",
        *(f"l{i}" for i in range(6)),
        *(f"r{i}" for i in range(6)),
        "footer",
    ]


def test_a_heading_across_the_middle_parts_the_columns_into_bands() -> None:
    top = column("a", 100, 100, 4) + column("b", 650, 100, 4)
    bottom = column("c", 100, 400, 4) + column("d", 650, 400, 4)
    order = read(shuffled([*top, *bottom, line("middle", 100, 320, 1050)]))
    assert [text[0] for text in order] == [*"aaaabbbb", "m", *"ccccdddd"]


def test_three_columns() -> None:
    page = [*column("a", 100, 100, 6, 300), *column("b", 450, 100, 6, 300), *column("c", 800, 100, 6, 300)]
    assert [text[0] for text in read(shuffled(page))] == [*"aaaaaabbbbbbcccccc"]


def test_a_table_reads_row_by_row() -> None:
    places = [(row, col) for row in range(5) for col in range(3)]
    cells = [line(f"{r}{c}", 100 + 400 * c, 100 + 60 * r, 60 + 40 * ((r + c) % 3)) for r, c in places]
    assert read(shuffled(cells)) == [f"{row}{col}" for row, col in places]


def test_labels_and_values_of_a_form_stay_in_one_row() -> None:
    labels = [line(f"label{i}", 100, 100 + 60 * i, 90 + 35 * (i % 4)) for i in range(4)]
    values = [line(f"value{i}", 500, 103 + 60 * i, 60 + 90 * (i % 3)) for i in range(4)]
    assert read(shuffled(labels + values)) == [f"{kind}{i}" for i in range(4) for kind in ("label", "value")]


def test_white_space_and_a_change_of_size_part_blocks() -> None:
    page = [line("heading", 100, 40, 400, 60), *column("a", 100, 105, 3), *column("b", 100, 300, 2)]
    assert [len(block.lines) for block in reading_order(shuffled(page))] == [1, 3, 2]


@pytest.mark.parametrize("degrees", [-8, 4, 90, 180, -90])
def test_a_turned_page_reads_the_same(degrees: float) -> None:
    angle = math.radians(degrees)

    def turn(p: Point) -> Point:
        return Point(p.x * math.cos(angle) - p.y * math.sin(angle), p.x * math.sin(angle) + p.y * math.cos(angle))

    straight = [line("title", 100, 100, 1050), *column("l", 100, 200, 6), *column("r", 650, 200, 6)]
    turned = [Line(Box(*(turn(corner) for corner in item.box.corners)), item.words) for item in straight]
    assert read(shuffled(turned)) == read(straight)


def test_no_lines_make_no_blocks() -> None:
    assert reading_order([]) == ()


_coordinates = st.floats(0, 2000, allow_nan=False)
_boxes = st.tuples(_coordinates, _coordinates, st.floats(0, 900), st.floats(0, 120))
_lines = st.lists(_boxes.map(lambda box: line("x", *box)), max_size=40)


@given(_lines, st.randoms(use_true_random=False))
def test_every_line_comes_once_and_the_order_found_does_not_matter(lines: list[Line], shuffle: random.Random) -> None:
    numbered = [Line(item.box, (Word(str(i), 0.9, item.box),)) for i, item in enumerate(lines)]
    order = read(numbered)
    assert sorted(order, key=int) == [str(i) for i in range(len(lines))]
    again = list(numbered)
    shuffle.shuffle(again)
    assert read(again) == order
