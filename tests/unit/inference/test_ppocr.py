"""The real models on small printed pages: right words in the right places, in any batch, upside down or not."""

from functools import cache
from typing import TypeVar

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.ppocr_detection import TextDetection
from inference_server.models.ppocr_recognition import TextRecognition
from inference_server.models.text import Line, LineCrop, Region
from services.kit.errors import CandelaError, InvalidArgument
from tests.support.device import RUNTIME
from tests.support.printed_pages import PrintedPage, printed_page

T = TypeVar("T")
SMALL = (700, 420)


@cache
def detection() -> TextDetection:
    model = TextDetection(RUNTIME)
    model.load()
    return model


@cache
def recognition() -> TextRecognition:
    model = TextRecognition(RUNTIME)
    model.load()
    return model


@cache
def page() -> PrintedPage:
    return printed_page("Vera", 12, size=SMALL)


def picture(image: Image.Image) -> Picture:
    return Picture(image.convert("RGB").tobytes(), image.width, image.height, PixelFormat.RGB8)


def good(result: T | CandelaError) -> T:
    assert not isinstance(result, CandelaError), result
    return result


@cache
def regions() -> list[Region]:
    (found,) = detection().run([picture(page().image)])
    return sorted(good(found), key=lambda region: region.corners[0][1])


def crop(region: Region, *, turned: bool = False) -> Picture:
    pixels = np.asarray(page().image)
    (left, top), (right, _), (_, bottom), _ = region.corners
    line = pixels[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    return picture(Image.fromarray(line).rotate(180) if turned else Image.fromarray(line))


def read(*crops: LineCrop) -> list[Line]:
    model = recognition()
    lines: list[Line] = []
    for one in crops:
        lines += [good(line) for line in model.run([one])]
    return lines


def test_every_line_is_found_where_it_is_printed() -> None:
    assert len(regions()) == len(page().lines)
    for region, line in zip(regions(), page().lines, strict=True):
        (left, top), (right, _), (_, bottom), _ = region.corners
        assert left <= line[0].left + 2
        assert right >= line[-1].right - 2
        assert 20 < bottom - top < 50
        assert 0.5 < region.score <= 1.0


def test_an_empty_page_has_no_text() -> None:
    blank = picture(Image.new("RGB", SMALL, "white"))
    assert detection().run([blank]) == [[]]
    (line,) = recognition().run([LineCrop(blank)])
    assert good(line).words == ()


def test_one_short_line_on_a_large_page_is_found() -> None:
    short = printed_page("Pillow", 12, words=["Hello", "world."])
    (found,) = detection().run([picture(short.image)])
    (region,) = good(found)
    assert region.corners[0][0] == pytest.approx(short.lines[0][0].left, abs=12)
    assert region.corners[1][0] == pytest.approx(short.lines[0][-1].right, abs=12)


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (40, 900)])
def test_odd_shapes_are_answered(size: tuple[int, int]) -> None:
    odd = picture(Image.new("RGB", size, "white"))
    width, height = detection().bucket(odd)
    assert width % 32 == height % 32 == 0
    assert width * height <= 2048 * 2048
    assert good(detection().run([odd])[0]) == []
    assert recognition().bucket(LineCrop(odd)) <= 3200
    assert not isinstance(recognition().run([LineCrop(odd)])[0], CandelaError)


def test_words_come_with_their_spaces_and_places() -> None:
    lines = read(*(LineCrop(crop(region)) for region in regions()))
    assert [word.text for line in lines for word in line.words] == page().words
    for region, line, printed in zip(regions(), lines, page().lines, strict=True):
        left, width = int(region.corners[0][0]), int(region.corners[1][0]) - int(region.corners[0][0]) + 1
        for word, expected in zip(line.words, printed, strict=True):
            assert left + word.start * width == pytest.approx(expected.left, abs=5)
            assert left + word.end * width == pytest.approx(expected.right, abs=5)
        assert line.confidence > 0.9


@pytest.mark.parametrize("gap", [40, 120, 400])
@pytest.mark.parametrize(("left", "right"), [("brass", "187.50"), ("2026-0142", "Date"), ("Total", "12.00")])
def test_cells_of_a_row_are_words_of_their_own_however_far_apart(left: str, right: str, gap: int) -> None:
    font = ImageFont.load_default(size=25)
    row = Image.new("RGB", (900, 38), "white")
    draw = ImageDraw.Draw(row)
    draw.text((6, 4), left, font=font, fill="black")
    draw.text((6 + draw.textlength(left, font=font) + gap, 4), right, font=font, fill="black")
    (line,) = read(LineCrop(picture(row)))
    assert [word.text for word in line.words] == [left, right]
    assert line.text == f"{left} {right}"


def test_an_upside_down_line_is_turned_only_when_asked_to() -> None:
    upright, turned = crop(regions()[1]), crop(regions()[1], turned=True)
    expected = " ".join(word.text for word in page().lines[1])
    up, down, unasked = read(LineCrop(upright, True), LineCrop(turned, True), LineCrop(turned))
    assert (up.text, up.upside_down) == (expected, False)
    assert (down.text, down.upside_down) == (expected, True)
    assert unasked.text != expected
    assert not unasked.upside_down


def test_a_crop_reads_the_same_in_any_company() -> None:
    model = recognition()
    crops = [LineCrop(crop(region), True) for region in regions()]
    bucket = model.bucket(crops[0])
    company = [one for one in crops if model.bucket(one) == bucket] * 3
    together = [good(line) for line in model.run(company)]
    for one, line in zip(company, together, strict=True):
        (alone,) = read(one)
        assert line.text == alone.text
        assert line.confidence == pytest.approx(alone.confidence, abs=1e-4)


def test_the_order_of_colours_and_grey_make_no_difference_to_print() -> None:
    upright = np.asarray(
        Image.frombytes("RGB", (crop(regions()[0]).width, crop(regions()[0]).height), crop(regions()[0]).data)
    )
    grey = cv2.cvtColor(upright, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    as_bgr = Picture(upright[:, :, ::-1].tobytes(), width, height, PixelFormat.BGR8)
    as_grey = Picture(grey.tobytes(), width, height, PixelFormat.GRAY8)
    expected = " ".join(word.text for word in page().lines[0])
    assert [line.text for line in read(LineCrop(as_bgr), LineCrop(as_grey))] == [expected] * 2


def test_a_picture_that_lies_about_its_size_fails_alone() -> None:
    whole = crop(regions()[0])
    liar = Picture(whole.data[:-1], whole.width, whole.height, whole.format)
    first, bad, last = recognition().run([LineCrop(whole), LineCrop(liar), LineCrop(whole)])
    assert good(first).text == good(last).text
    assert isinstance(bad, InvalidArgument)
    assert isinstance(detection().run([liar])[0], InvalidArgument)
