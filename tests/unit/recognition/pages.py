"""Small documents and pages for tests."""

from datetime import UTC, datetime, timedelta

from services.recognition.domain.documents import (
    Block,
    Box,
    Character,
    Document,
    Kind,
    Line,
    Page,
    Recognition,
    Source,
    Word,
)

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def word(text: str, left: float = 10, top: float = 10) -> Word:
    """Return a word 10 pixels a character wide, with its characters."""
    box = Box.upright(left, top, left + 10 * len(text), top + 20)
    characters = (
        Character(letter, 0.5 + 0.01 * i, box.slice(i / len(text), (i + 1) / len(text)))
        for i, letter in enumerate(text)
    )
    return Word(text, 0.75, box, tuple(characters))


def line(*texts: str, top: float = 10) -> Line:
    """Return a line of words."""
    words = tuple(word(text, 10 + 100 * i, top) for i, text in enumerate(texts))
    return Line(Box.upright(10, top, 10 + 100 * len(texts), top + 20), words)


def document(*texts: str) -> Document:
    """Return a document of one page and one line a text."""
    lines = tuple(line(*text.split(), top=10 + 30 * i) for i, text in enumerate(texts))
    return Document((Page(1, 400, 300, (Block(lines),) if lines else ()),))


def recognition(number: int = 1, minutes: float = 0.0, found: Document | None = None) -> Recognition:
    """Return a history entry made `minutes` after midnight."""
    return Recognition(
        id=f"r{number:05d}",
        kind=Kind.DOCUMENT,
        create_time=MIDNIGHT + timedelta(minutes=minutes),
        source=Source("image/png", 1234, "ab" * 32, 1),
        models=("det@1", "rec@1"),
        processing_time=timedelta(milliseconds=1500, microseconds=7),
        confidence=0.75,
        document=found if found is not None else document("Hello world", "Grüße 漢字"),
    )
