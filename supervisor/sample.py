"""The page that the first recognition is tried on: `python -m supervisor.sample FILE` draws it.

A program of its own, so that the supervisor does not keep Pillow in memory for one picture.
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_SIZE = (1240, 900)
_MARGIN = 90
_TITLE = "Candela reads this page"
_LINES = (
    "Every word on it comes back with its box and how sure the",
    "model is. The request went through the edge as JSON, became",
    "a typed call, and was recognised in a batch with whatever",
    "else arrived in the same few milliseconds.",
    "",
    "Invoice 2026-0142          Date 14 March 2026",
    "Three lamps, brass         187.50",
    "Delivery                    12.00",
    "Total                      199.50",
)


def draw_sample(path: Path) -> None:
    """Write the page as PNG, in one step. Raises OSError when the file cannot be written."""
    page = Image.new("L", _SIZE, 255)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN), _TITLE, fill=0, font=ImageFont.load_default(52))
    body = ImageFont.load_default(32)
    for number, line in enumerate(_LINES):
        draw.text((_MARGIN, _MARGIN + 120 + number * 62), line, fill=0, font=body)
    temporary = path.with_name(f".{path.name}")
    page.save(temporary, format="PNG")
    temporary.replace(path)


if __name__ == "__main__":
    draw_sample(Path(sys.argv[1]))
