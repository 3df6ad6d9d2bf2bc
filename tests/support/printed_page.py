"""Printed pages whose words are known, for tests of reading."""

import difflib
import io
import random

from PIL import Image, ImageDraw, ImageFont

# Plain English of mixed word lengths with digits, capitals and punctuation, written for these tests.
_SENTENCES = (
    "The harbour was quiet when the first boats came home.",
    "In 1987 the council bought 240 lamps, each with a brass frame.",
    "Nobody knew why the old clock stopped at half past seven.",
    "Please return this form to Room 12 before Friday, 3 March.",
    "A careful reader notices small errors; a patient one forgives them.",
    "The total of $1,250.75 includes delivery, insurance and tax.",
    "Her grandfather kept bees, grew tomatoes and repaired violins.",
    "Every window of the house looked towards the river.",
    "Temperatures fell to 4 degrees during the second week of April.",
    "We walked slowly, for the path was steep and the children were tired.",
    "The committee's report (see page 48) explains the new rules.",
    "Rain had washed the letters from the sign above the door.",
    "Could anyone have guessed how quickly the market would change?",
    "Large ships wait outside the bay until the tide allows them in.",
    "Order number 77-3041 was shipped on Monday and arrived on Thursday.",
    "He wrote the address twice, folded the paper and left.",
)
A4 = (1240, 1754)


def words_of_page(count: int, seed: int = 1) -> list[str]:
    """Return at least `count` words, whole sentences of them, the same for the same seed."""
    chosen = random.Random(seed)
    words: list[str] = []
    while len(words) < count:
        words += chosen.choice(_SENTENCES).split()
    return words


def print_page(words: list[str], *, points: float = 12, dpi: int = 150, margin: int = 110) -> Image.Image:
    """Return an A4 page with the words set in lines, ragged on the right; ValueError when they do not fit."""
    page = Image.new("RGB", A4, "white")
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=points * dpi / 72)
    space = draw.textlength(" ", font=font)
    leading = points * dpi / 72 * 1.45
    x, y = float(margin), float(margin)
    for word in words:
        width = draw.textlength(word, font=font)
        if x + width > A4[0] - margin:
            x, y = float(margin), y + leading
        if y + leading > A4[1] - margin:
            raise ValueError("the page is full")
        draw.text((x, y), word, font=font, fill="black")
        x += width + space
    return page


def png(image: Image.Image) -> bytes:
    """Return the picture as PNG."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def share_right(printed: list[str], read: list[str]) -> float:
    """Return the share of printed words that were read exactly, in their order (longest common subsequence)."""
    blocks = difflib.SequenceMatcher(None, printed, read, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(printed)
