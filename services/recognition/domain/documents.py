"""What a recognised document is made of, and how a history entry describes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import chain


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a page, in pixels from its upper left corner."""

    x: float
    y: float

    def towards(self, other: "Point", fraction: float) -> "Point":
        """Return the point that lies `fraction` (0 to 1) of the way to another."""
        return Point(self.x + (other.x - self.x) * fraction, self.y + (other.y - self.y) * fraction)


@dataclass(frozen=True, slots=True)
class Box:
    """Four corners, named as one reads the content inside."""

    top_left: Point
    top_right: Point
    bottom_right: Point
    bottom_left: Point

    @classmethod
    def upright(cls, left: float, top: float, right: float, bottom: float) -> "Box":
        """Return an axis-parallel box from its edges in pixels."""
        return cls(Point(left, top), Point(right, top), Point(right, bottom), Point(left, bottom))

    @property
    def corners(self) -> tuple[Point, Point, Point, Point]:
        """Return the corners clockwise from the content's upper left one."""
        return self.top_left, self.top_right, self.bottom_right, self.bottom_left

    @property
    def left(self) -> float:
        return min(p.x for p in self.corners)

    @property
    def right(self) -> float:
        return max(p.x for p in self.corners)

    @property
    def top(self) -> float:
        return min(p.y for p in self.corners)

    @property
    def bottom(self) -> float:
        return max(p.y for p in self.corners)

    def slice(self, start: float, end: float) -> "Box":
        """Return the part between two fractions (0 to 1) of the way along the reading direction."""
        return Box(
            self.top_left.towards(self.top_right, start),
            self.top_left.towards(self.top_right, end),
            self.bottom_left.towards(self.bottom_right, end),
            self.bottom_left.towards(self.bottom_right, start),
        )

    def turned_left(self) -> "Box":
        """Return the same area for content that runs from top to bottom: its upper left is this box's upper right."""
        return Box(self.top_right, self.bottom_right, self.bottom_left, self.top_left)

    def turned_over(self) -> "Box":
        """Return the same area for content that lies upside down in it."""
        return Box(self.bottom_right, self.bottom_left, self.top_left, self.top_right)


def around(boxes: Iterable[Box]) -> Box:
    """Return the smallest upright box around at least one box."""
    corners = [corner for box in boxes for corner in box.corners]
    xs, ys = [p.x for p in corners], [p.y for p in corners]
    return Box.upright(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True, slots=True)
class Character:
    """One character with its confidence (0 to 1) and place."""

    text: str
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True)
class Word:
    """One word with its punctuation; a run of Han, Kana or Hangul characters counts as one."""

    text: str
    confidence: float
    box: Box
    characters: tuple[Character, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text, as its words from first to last."""

    box: Box
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def confidence(self) -> float:
        return mean(word.confidence for word in self.words)


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together, in reading order."""

    lines: tuple[Line, ...]

    @property
    def box(self) -> Box:
        return around(line.box for line in self.lines)


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its number from 1, its size in pixels, its blocks in reading order."""

    number: int
    width: int
    height: int
    blocks: tuple[Block, ...]

    @property
    def words(self) -> list[Word]:
        return [word for block in self.blocks for line in block.lines for word in line.words]

    @property
    def confidence(self) -> float:
        return mean(word.confidence for word in self.words)


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a document, page by page."""

    pages: tuple[Page, ...]

    @property
    def text(self) -> str:
        """Return all text: lines end in a newline, blocks are parted by an empty line, pages by a form feed."""
        return "\f".join(
            "\n".join("".join(f"{line.text}\n" for line in block.lines) for block in page.blocks) for page in self.pages
        )

    @property
    def confidence(self) -> float:
        return mean(word.confidence for word in chain.from_iterable(page.words for page in self.pages))

    def without_characters(self) -> "Document":
        """Return the same document with words that do not list their characters."""
        return Document(tuple(_page_without_characters(page) for page in self.pages))


def _page_without_characters(page: Page) -> Page:
    blocks = (
        Block(tuple(Line(ln.box, tuple(Word(w.text, w.confidence, w.box) for w in ln.words)) for ln in block.lines))
        for block in page.blocks
    )
    return Page(page.number, page.width, page.height, tuple(blocks))


class Kind(Enum):
    """What a history entry recognised; the values are what is stored."""

    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Source:
    """What a recognition was made from: its real type, its size in bytes, its SHA-256 in hexadecimal, its pages."""

    content_type: str
    size_bytes: int
    sha256: str
    page_count: int


@dataclass(frozen=True, slots=True)
class Recognition:
    """One entry of a user's history. `document` is None in views that leave the result out."""

    id: str
    kind: Kind
    create_time: datetime
    source: Source
    models: tuple[str, ...]
    processing_time: timedelta
    confidence: float
    document: Document | None


def mean(values: Iterable[float]) -> float:
    """Return the mean, 0 for nothing."""
    listed: Sequence[float] = list(values)
    return sum(listed) / len(listed) if listed else 0.0
