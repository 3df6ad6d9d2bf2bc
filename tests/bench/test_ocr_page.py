"""The bars for printed pages: words right, and time against the bare OCR library."""

import pytest
from rapidocr import RapidOCR

from tests.bench.ocr_page import measure, reader

FONTS = (("Pillow", 11), ("Vera", 12), ("VeraIt", 12))


@pytest.mark.timeout(600)
async def test_printed_pages_are_read_right_and_in_time() -> None:
    bare = RapidOCR()
    async with reader() as ocr:
        await measure(ocr, bare, FONTS[:1], 1)  # both have seen a page before it counts
        figures = await measure(ocr, bare, FONTS, 3)
    for page in figures:
        print(f"{page.page}: {page.words} words, {page.right:.2%} right, {page.ratio:.2f} of the bare call's time")
    assert all(page.words >= 250 and page.right >= 0.98 for page in figures)
    assert sorted(page.ratio for page in figures)[1] <= 1.15
