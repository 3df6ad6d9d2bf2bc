"""Pages of English print, drawn by us, so that what is on them is known to the letter."""

from dataclasses import dataclass
from pathlib import Path

import reportlab
from PIL import Image, ImageDraw, ImageFont

A4_AT_150_DPI = (1240, 1754)
_DPI = 150
_MARGIN = 110

# Written for this purpose: common and rare words, figures, quotations, brackets, hyphens, addresses and units.
PROSE = """
The town library opened its doors on 14 March 1907, and for the first eleven years nobody counted the visitors. Then a
clerk, Miss Adelaide Finch, began to keep a notebook: "Tuesday, rain, 23 readers (four of them asleep)." Her figures are
exact, her remarks less so. In June 1921 she wrote that "a gentleman returned a map of Norway, folded wrongly, and paid
the fine of 2 shillings without a word." The notebook survived; the map did not. By 1934 the reading room held 18,250
volumes, a stuffed owl, and one typewriter that could not print the letter q. Borrowers were asked to write it in by
hand. Nobody objected, although the treasurer (a careful man) noted that ink, too, costs money: about 0.75 pence per
reader and year. After the flood of 1953 everything below the third shelf had to be dried, page by page, between sheets
of blotting paper; it took seven volunteers, two stoves and most of the winter. What could not be saved was listed,
numbered 1-412, and mourned. The list itself is now the most requested document in the archive. Visitors ask for it
because of its margins: somebody, perhaps Miss Finch's successor, added short reviews. No. 17 is "dull but honest"; No.
208, a treatise on bee-keeping, is "wrong about queens"; and No. 399 is simply marked "good riddance!" Today the
building has been restored, the owl has been cleaned, and the catalogue can be searched at any hour. Questions may be
sent to desk@library.example or asked in person between 9:30 and 17:45, except on Sundays. Please don't bring soup.
Membership is free for everyone under 26; others pay $12.50 a year, or $30 for a household of up to 5 people. Rooms can
be booked for 60, 90 or 120 minutes, and the projector (1080p, HDMI) is included. Groups larger than 15 should write at
least 3 days before. If it rains, use the side entrance: the main steps get slippery, and the lift is still out of
order. Why that is so, after 14 months and 6 letters, remains the library's last unsolved mystery.
"""


@dataclass(frozen=True, slots=True)
class PrintedWord:
    """A word and its ink's left and right edge, in pixels of the page."""

    text: str
    left: float
    right: float


@dataclass(frozen=True, slots=True)
class PrintedPage:
    """A page and the words of its lines, from top to bottom."""

    image: Image.Image
    lines: tuple[tuple[PrintedWord, ...], ...]

    @property
    def words(self) -> list[str]:
        return [word.text for line in self.lines for word in line]


def fonts() -> dict[str, str]:
    """Return the fonts that are always there, by name: Pillow's own (an empty path), and reportlab's Vera family."""
    folder = Path(reportlab.__file__).parent / "fonts"
    vera = {name: str(folder / f"{name}.ttf") for name in ("Vera", "VeraBd", "VeraIt", "VeraBI")}
    return {"Pillow": "", **vera}


def printed_page(
    font: str = "Pillow",
    points: float = 12,
    *,
    words: list[str] | None = None,
    size: tuple[int, int] = A4_AT_150_DPI,
    start: int = 0,
) -> PrintedPage:
    """Print `words` (the prose from word `start` on, over and over, by default) until they end or the page is full."""
    face = _face(font, points)
    supply = words if words is not None else _prose(start)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    leading = int(points * _DPI / 72 * 1.35)
    lines: list[tuple[PrintedWord, ...]] = []
    top, used = _MARGIN, 0
    while used < len(supply) and top + leading < size[1] - _MARGIN:
        line = _line(supply[used:], face, size[0] - 2 * _MARGIN)
        draw.text((_MARGIN, top), " ".join(line), fill="black", font=face)
        lines.append(tuple(_printed(line, face)))
        used += len(line)
        top += leading
    return PrintedPage(image, tuple(lines))


def _face(font: str, points: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    path, pixels = fonts()[font], points * _DPI / 72
    return ImageFont.truetype(path, pixels) if path else ImageFont.load_default(pixels)


def _prose(start: int) -> list[str]:
    words = PROSE.split()
    return words[start:] + words * 3


def _line(words: list[str], face: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    line = words[:1]
    for word in words[1:]:
        if face.getlength(" ".join([*line, word])) > width:
            break
        line.append(word)
    return line


def _printed(line: list[str], face: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[PrintedWord]:
    printed = []
    for index, word in enumerate(line):
        origin = _MARGIN + face.getlength(" ".join([*line[:index], ""]))
        left, _, right, _ = face.getbbox(word)
        printed.append(PrintedWord(word, origin + left, origin + right))
    return printed
