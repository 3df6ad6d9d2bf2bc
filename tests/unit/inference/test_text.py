"""Words and characters: decoding CTC scores, placing glyphs by the ink, and cutting lines into words."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.models.ctc import Glyph, decode
from inference_server.models.placement import place
from inference_server.models.text import Character, compose

ALPHABET = ["", "a", "b", " "]


def scores(*best: tuple[int, float]) -> npt.NDArray[np.float32]:
    """Return scores of one line whose best class in each column is given with its probability."""
    out = np.full((len(best), len(ALPHABET)), 0.001, dtype=np.float32)
    for column, (index, probability) in enumerate(best):
        out[column, index] = probability
    return out


def test_repeats_are_one_character_and_a_blank_between_makes_two() -> None:
    glyphs = decode(scores((1, 0.5), (1, 0.9), (0, 0.9), (1, 0.8), (3, 0.7), (2, 0.6)), ALPHABET)
    assert [glyph.text for glyph in glyphs] == ["a", "a", " ", "b"]
    assert [glyph.confidence for glyph in glyphs] == pytest.approx([0.9, 0.8, 0.7, 0.6])
    centers = [glyph.center for glyph in glyphs]
    assert centers == sorted(centers)
    assert centers[1] == pytest.approx(3.5 - 0.3)


def test_blanks_alone_are_no_text() -> None:
    assert decode(scores((0, 0.9), (0, 0.9)), ALPHABET) == []
    assert compose([]).text == ""
    assert compose([]).confidence == 0.0


def line_of(glyphs: list[tuple[str, int, int]], width: int) -> tuple[list[Glyph], npt.NDArray[np.float32]]:
    """Return glyphs and a plane in which each non-space glyph inks the pixel columns from start to end."""
    plane = np.ones((48, width), dtype=np.float32)
    for text, start, end in glyphs:
        if text != " ":
            plane[10:38, start:end] = -1.0
    return [Glyph(text, 0.9, (start + end) / 2 / 8) for text, start, end in glyphs], plane


def test_characters_end_where_their_ink_ends() -> None:
    glyphs, plane = line_of([("H", 10, 30), ("i", 34, 40), (" ", 40, 60), ("y", 60, 76)], 160)
    placed = place(glyphs, plane, columns=20)
    assert [one.text for one in placed] == ["H", "i", " ", "y"]
    assert [one.start * 160 for one in placed] == pytest.approx([10, 34, 40, 60])
    assert [one.end * 160 for one in placed] == pytest.approx([30, 40, 60, 76])


def test_touching_glyphs_share_an_edge_and_a_rule_under_the_line_does_no_harm() -> None:
    glyphs, plane = line_of([("r", 10, 30), ("n", 30, 50), (" ", 50, 66), ("x", 66, 86)], 160)
    plane[10:38, 28:32] = 1.0
    plane[20:24, 28:32] = -1.0  # the thinnest ink
    plane[40:42, :] = -1.0  # the rule
    first, second, space, last = place(glyphs, plane, columns=20)
    assert first.end == second.start
    assert 28 <= first.end * 160 <= 32
    assert second.end < last.start
    assert space.start == second.end


@given(
    st.lists(st.tuples(st.sampled_from(["a", "i", " ", "好"]), st.floats(0, 40)), max_size=12),
    st.integers(1, 320),
    st.integers(0, 2**32 - 1),
)
def test_extents_are_ordered_and_inside_whatever_the_picture(
    found: list[tuple[str, float]], width: int, seed: int
) -> None:
    plane = np.random.default_rng(seed).uniform(-1, 1, (48, width)).astype(np.float32)
    glyphs = [Glyph(text, 0.5, center) for text, center in sorted(found, key=lambda pair: pair[1])]
    placed = place(glyphs, plane, columns=width / 8)
    assert [one.text for one in placed if one.text != " "] == [glyph.text for glyph in glyphs if glyph.text != " "]
    edges = [edge for one in placed for edge in (one.start, one.end)]
    assert edges == sorted(edges)
    assert all(0.0 <= edge <= 1.0 for edge in edges)


def letters(text: str) -> list[Character]:
    return [Character(letter, 0.5, i / len(text), (i + 1) / len(text)) for i, letter in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Read it, twice.", ["Read", "it,", "twice."]),
        ("  wide   gaps ", ["wide", "gaps"]),
        ("使用Python编程。", ["使用", "Python", "编程。"]),
        ("第3章", ["第", "3", "章"]),
        ("(see 图1)", ["(see", "图", "1)"]),
        ("don't e-mail a@b.c", ["don't", "e-mail", "a@b.c"]),
        ("", []),
    ],
)
def test_lines_are_cut_into_words(text: str, words: list[str]) -> None:
    line = compose(letters(text), upside_down=True)
    assert [word.text for word in line.words] == words
    assert line.text == " ".join(text.split())
    assert line.upside_down
    for word in line.words:
        assert word.start == word.characters[0].start
        assert word.end == word.characters[-1].end


def test_confidence_is_the_mean_over_characters() -> None:
    line = compose([Character("a", 1.0, 0, 0.2), Character(" ", 0.1, 0.2, 0.3), Character("b", 0.5, 0.3, 0.5)])
    assert line.confidence == pytest.approx(0.75)
    assert [word.confidence for word in line.words] == [1.0, 0.5]
