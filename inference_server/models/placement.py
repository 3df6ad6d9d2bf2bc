"""Where characters begin and end on a crop: CTC says roughly where, the ink says exactly.

The network's columns are 8 pixels wide at its own scale, and its idea of a character's middle is right to about half a
column. What lies between two middles tells where one glyph ends and the next begins: bare paper, or the thinnest ink.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from inference_server.models.ctc import Glyph
from inference_server.models.text import Character

# A pixel column with less than this share of the line's range of ink is bare paper.
_PAPER = 0.2
# This share of the rows at the top and at the bottom may show the neighbouring lines.
_MARGIN = 0.08
# How far from its middle the outermost character of a line may reach, in heights of the crop.
_REACH = 0.75

# Paper between two characters that is wider than this, in heights of the crop (about one em), parts words though the
# network saw no space: in tables, forms and headings it reads across gaps as if they were not there.
_WIDE = 0.7

_Gap = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Ink:
    """A line's ink: how much each pixel column has, and the runs of bare paper from left to right."""

    amount: npt.NDArray[np.float32]
    paper_starts: list[int]
    paper_ends: list[int]
    height: int

    def widest_paper(self, left: float, right: float) -> _Gap | None:
        """Return the widest run of paper between two places, None when ink covers everything between them."""
        first, last = bisect_right(self.paper_ends, left), bisect_left(self.paper_starts, right)
        runs = [
            (max(left, self.paper_starts[index]), min(right, self.paper_ends[index])) for index in range(first, last)
        ]
        return max(runs, key=lambda run: run[1] - run[0], default=None)

    def thinnest(self, left: float, right: float) -> float:
        """Return the middle of the pixel column with the least ink between two places."""
        start, end = round(left), round(right)
        return start + int(self.amount[start:end].argmin()) + 0.5 if end > start else (left + right) / 2

    def outermost(self, center: float, direction: int) -> float:
        """Return how far the line's first (direction -1) or last (1) character, its middle at `center`, reaches."""
        reach = _REACH * self.height
        if direction < 0:
            low = max(center - reach, 0.0)
            paper = self._paper_at(low)
            return low if paper is None else min(paper[1], center)
        high = min(center + reach, float(len(self.amount)))
        paper = self._paper_at(high)
        return high if paper is None else max(paper[0], center)

    def _paper_at(self, place: float) -> _Gap | None:
        """Return the run of paper that touches a place, None when there is ink."""
        index = bisect_left(self.paper_ends, place)
        if index == len(self.paper_ends) or self.paper_starts[index] > place:
            return None
        return self.paper_starts[index], self.paper_ends[index]


def place(glyphs: Sequence[Glyph], plane: npt.NDArray[np.float32], columns: float) -> list[Character]:
    """Return the glyphs, spaces included, with their extents as fractions of the crop's width.

    `plane` (rows, pixels) is one colour plane of the crop as the network saw it, without its padding; `columns` is how
    many of the network's columns cover that width.
    """
    marks = [index for index, glyph in enumerate(glyphs) if not glyph.text.isspace()]
    if not marks:
        return []
    width = plane.shape[1]
    ink = _ink(plane)
    centers = [min(glyph.center / columns, 1.0) * width for glyph in glyphs]
    gaps = [_gap(ink, centers[left : right + 1]) for left, right in pairwise(marks)]
    starts = [ink.outermost(centers[marks[0]], -1), *(gap[1] for gap in gaps)]
    ends = [*(gap[0] for gap in gaps), ink.outermost(centers[marks[-1]], 1)]
    placed: list[Character] = []
    for mark, start, end in zip(marks, starts, ends, strict=True):
        glyph = glyphs[mark]
        if placed and glyphs[mark - 1].text.isspace():
            placed.append(Character(" ", glyphs[mark - 1].confidence, placed[-1].end, start / width))
        elif placed and start - placed[-1].end * width > _WIDE * ink.height:
            placed.append(Character(" ", min(placed[-1].confidence, glyph.confidence), placed[-1].end, start / width))
        placed.append(Character(glyph.text, glyph.confidence, start / width, max(start, end) / width))
    return placed


def _gap(ink: _Ink, centers: Sequence[float]) -> _Gap:
    """Return where the first of two marks ends and the second begins; `centers` between them are those of spaces."""
    left, right = centers[0], centers[-1]
    paper = ink.widest_paper(left, right)
    if paper is not None:
        return paper
    if len(centers) > 2:  # a space under which a rule or a stain runs
        return (left + centers[1]) / 2, (centers[-2] + right) / 2
    split = ink.thinnest(left, right)
    return split, split


def _ink(plane: npt.NDArray[np.float32]) -> _Ink:
    height = plane.shape[0]
    margin = int(height * _MARGIN)
    # The spread of a pixel column's values tells ink from paper whatever their colours, and a rule that runs through
    # all columns adds the same to each.
    amount = plane[margin : height - margin].std(axis=0)
    least, most = float(amount.min()), float(np.percentile(amount, 90))
    paper = amount < least + _PAPER * (most - least)
    edges = np.flatnonzero(np.diff(paper, prepend=False, append=False))
    return _Ink(amount, edges[::2].tolist(), edges[1::2].tolist(), height)
