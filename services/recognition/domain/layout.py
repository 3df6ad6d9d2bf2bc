"""Reading order: from lines scattered over a page to blocks in the order a person reads them.

A page is either columns or rows. Columns are told by a gutter: a vertical strip that only few lines cross (headings,
which part the page into bands) with text on both sides that fills its column. Where there is none, lines are read row
by row, which is right for plain pages, tables and forms alike. The idea of cutting at white space is Nagy and Seth's
XY-cut (1984); treating the crossing lines as separators keeps columns whole when their paragraphs end at the same
height.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, inf, radians, sin
from statistics import median

from services.recognition.domain.documents import Block, Box, Line, Point, mean

# A gutter is at least this many line heights wide …
_MIN_GUTTER_HEIGHTS = 0.8
# … and at most this share of the narrower column (cells of a table stand further apart) …
_MAX_GUTTER_SHARE = 0.5
# … is crossed by at most this share of the lines …
_MAX_CROSSING = 0.34
# … and has this many lines on each side, whose mean width fills this share of their column.
_MIN_COLUMN_LINES = 3
_MIN_FILL = 0.55
# The columns stand beside each other for at least this share of the shorter one's height.
_MIN_SIDE_BY_SIDE = 0.5

# Two lines are in one row when they share this part of the lower one's height.
_SAME_ROW = 0.5
# A block ends where the white space below a line is larger than this many line heights …
_BLOCK_GAP_HEIGHTS = 0.75
# … or where the size of the writing changes by more than this factor.
_BLOCK_SIZE_RATIO = 1.6


def reading_order(lines: Sequence[Line]) -> tuple[Block, ...]:
    """Return every line once, in blocks, in reading order. The order of the input does not matter."""
    if not lines:
        return ()
    angle = _writing_angle(lines)
    copies = [Line(_turn(line.box, -angle), line.words) for line in lines]
    originals = {id(copy): line for copy, line in zip(copies, lines, strict=True)}
    ordered = sorted(copies, key=lambda line: (line.box.top, line.box.left, line.text))
    blocks = _blocks(ordered, height=median(_height(line) for line in ordered))
    return tuple(Block(tuple(originals[id(line)] for line in block.lines)) for block in blocks)


def _writing_angle(lines: Sequence[Line]) -> float:
    """Return the direction the writing runs in, in radians: 0 is to the right, long lines count more."""
    steps = [(line.box.top_left, line.box.top_right) for line in lines]
    angle = atan2(sum(b.y - a.y for a, b in steps), sum(b.x - a.x for a, b in steps))
    # Detected corners are rounded to pixels: below half a degree there is nothing to level.
    return angle if abs(angle) > radians(0.5) else 0.0


def _turn(box: Box, angle: float) -> Box:
    """Return the box turned around the page's corner."""
    if angle == 0.0:
        return box
    c, s = cos(angle), sin(angle)
    return Box(*(Point(p.x * c - p.y * s, p.x * s + p.y * c) for p in box.corners))


def _height(line: Line) -> float:
    return max(line.box.bottom - line.box.top, 1.0)


def _blocks(lines: list[Line], height: float) -> list[Block]:
    gutter = _find_gutter(lines, height)
    if gutter is None:
        return _paragraphs(_rows(lines), height)
    blocks: list[Block] = []
    for band in _bands(lines, gutter):
        if isinstance(band, Line):
            blocks.extend(_paragraphs([[band]], height))
            continue
        left = [line for line in band if _centre(line) < gutter]
        right = [line for line in band if _centre(line) >= gutter]
        # Each side has fewer lines than the page, since a gutter has some on both: the recursion ends.
        blocks.extend(block for column in (left, right) if column for block in _blocks(column, height))
    return _join_headings(blocks, height)


def _centre(line: Line) -> float:
    return (line.box.left + line.box.right) / 2


def _crosses(line: Line, x: float) -> bool:
    return line.box.left < x < line.box.right


@dataclass(frozen=True, slots=True)
class _Gutter:
    x: float
    crossing: int
    width: float


def _find_gutter(lines: list[Line], height: float) -> float | None:
    """Return where the page is best parted into columns, None where it is not."""
    if len(lines) < 2 * _MIN_COLUMN_LINES:
        return None
    candidates = [g for x in _line_ends(lines, height) if (g := _gutter_after(lines, x, height))]
    if not candidates:
        return None
    return min(candidates, key=lambda g: (g.crossing, -g.width, g.x)).x


def _line_ends(lines: list[Line], height: float) -> list[float]:
    """Return where lines end on the right, ends that lie close together as one, so that odd pages stay cheap."""
    ends = sorted({line.box.right for line in lines})
    return [end for end, following in pairwise([*ends, inf]) if following - end > height / 4]


def _gutter_after(lines: list[Line], x: float, height: float) -> _Gutter | None:
    """Return the gutter that begins where some line ends, if there is one of text columns."""
    right = [line for line in lines if line.box.left >= x]
    if len(right) < _MIN_COLUMN_LINES:
        return None
    end = min(line.box.left for line in right)
    if end - x < _MIN_GUTTER_HEIGHTS * height:
        return None
    middle = (x + end) / 2
    left = [line for line in lines if line.box.right <= middle]
    crossing = len(lines) - len(left) - len(right)
    if len(left) < _MIN_COLUMN_LINES or crossing > _MAX_CROSSING * len(lines):
        return None
    if end - x > _MAX_GUTTER_SHARE * min(_width(left), _width(right)):
        return None
    if not (_side_by_side(left, right) and _is_running_text(left, height) and _is_running_text(right, height)):
        return None
    return _Gutter(middle, crossing, end - x)


def _width(column: list[Line]) -> float:
    return max(line.box.right for line in column) - min(line.box.left for line in column)


def _is_running_text(column: list[Line], height: float) -> bool:
    """Tell running text, whose lines fill their column or several columns, from the cells of a table."""
    fills = mean(line.box.right - line.box.left for line in column) >= _MIN_FILL * _width(column)
    return fills or _find_gutter(column, height) is not None


def _side_by_side(left: list[Line], right: list[Line]) -> bool:
    top = max(min(line.box.top for line in side) for side in (left, right))
    bottom = min(max(line.box.bottom for line in side) for side in (left, right))
    shorter = min(max(ln.box.bottom for ln in s) - min(ln.box.top for ln in s) for s in (left, right))
    return bottom - top >= _MIN_SIDE_BY_SIDE * shorter


def _bands(lines: list[Line], gutter: float) -> list[list[Line] | Line]:
    """Return the page from top to bottom as lines that cross the gutter and the groups of lines between them."""
    crossing = [line for line in lines if _crosses(line, gutter)]
    beside = [line for line in lines if not _crosses(line, gutter)]
    bands: list[list[Line] | Line] = []
    for heading in crossing:
        middle = (heading.box.top + heading.box.bottom) / 2
        above = [line for line in beside if (line.box.top + line.box.bottom) / 2 < middle]
        beside = [line for line in beside if (line.box.top + line.box.bottom) / 2 >= middle]
        bands.extend([above, heading] if above else [heading])
    return [*bands, beside] if beside else bands


def _rows(lines: list[Line]) -> list[list[Line]]:
    """Return the lines as rows from top to bottom, each from left to right. Expects them sorted by their top."""
    rows: list[list[Line]] = []
    for line in lines:
        row = rows[-1] if rows else None
        if row is not None and _same_row(row[0], line):
            row.append(line)
        else:
            rows.append([line])
    return [sorted(row, key=lambda line: (line.box.left, line.box.top)) for row in rows]


def _same_row(first: Line, second: Line) -> bool:
    shared = min(first.box.bottom, second.box.bottom) - max(first.box.top, second.box.top)
    lower = min(first.box.bottom - first.box.top, second.box.bottom - second.box.top)
    return shared > _SAME_ROW * lower


def _paragraphs(rows: list[list[Line]], height: float) -> list[Block]:
    """Part rows into blocks at white space and where the size of the writing changes."""
    blocks: list[list[Line]] = []
    previous: list[Line] | None = None
    for row in rows:
        if previous is not None and _belongs(previous, row, height):
            blocks[-1].extend(row)
        else:
            blocks.append(list(row))
        previous = row
    return [Block(tuple(block)) for block in blocks]


def _belongs(above: list[Line], below: list[Line], height: float) -> bool:
    gap = min(line.box.top for line in below) - max(line.box.bottom for line in above)
    if gap > _BLOCK_GAP_HEIGHTS * height:
        return False
    sizes = sorted((median(_height(line) for line in above), median(_height(line) for line in below)))
    return sizes[1] <= _BLOCK_SIZE_RATIO * sizes[0]


def _join_headings(blocks: list[Block], height: float) -> list[Block]:
    """Join blocks of crossing lines that follow each other closely, such as an abstract over two columns."""
    joined: list[Block] = []
    for block in blocks:
        last = joined[-1] if joined else None
        if last is not None and _stacked(last, block) and _belongs([last.lines[-1]], [block.lines[0]], height):
            joined[-1] = Block(last.lines + block.lines)
        else:
            joined.append(block)
    return joined


def _stacked(above: Block, below: Block) -> bool:
    """Tell whether a block begins under another with about the same left edge and width."""
    tolerance = 0.1 * max(above.box.right - above.box.left, below.box.right - below.box.left)
    same_left = abs(above.box.left - below.box.left) <= tolerance
    return same_left and abs(above.box.right - below.box.right) <= 2 * tolerance and below.box.top >= above.box.top
