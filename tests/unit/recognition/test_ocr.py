"""Reading a page through the models: what is sent, and where on the page the answers land."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from google.rpc import code_pb2, status_pb2

from candela.inference.v1 import ocr_pb2, ocr_service_pb2
from candela.type.v1 import geometry_pb2
from services.kit.errors import CandelaError, Unavailable
from services.recognition.domain.documents import Box, Point
from services.recognition.domain.media import PageImage
from services.recognition.providers.ocr import OcrPageReader


class ScriptedModels:
    """Answers like the inference server: the boxes given, and for every crop the words given."""

    def __init__(self, *boxes: Box, upside_down: bool = False) -> None:
        self.boxes = boxes
        self.upside_down = upside_down
        self.searched: list[ocr_pb2.PixelImage] = []
        self.crops: list[ocr_pb2.PixelImage] = []
        self.calls = 0
        self.error: status_pb2.Status | None = None
        self.empty = False

    async def detect(self, request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
        self.searched = list(request.images)
        regions = [ocr_pb2.TextRegion(box=to_proto(box), score=0.9) for box in self.boxes]
        result = ocr_pb2.DetectTextResult(regions=ocr_pb2.TextRegions(regions=regions))
        return ocr_service_pb2.DetectTextResponse(model="det@1", results=[result])

    async def recognize(self, request: ocr_service_pb2.RecognizeTextRequest) -> ocr_service_pb2.RecognizeTextResponse:
        self.calls += 1
        self.crops += request.crops
        assert request.detect_orientation
        results = [self._line() for _ in request.crops]
        return ocr_service_pb2.RecognizeTextResponse(model="rec@1", results=results)

    def _line(self) -> ocr_pb2.RecognizeTextResult:
        if self.error is not None:
            return ocr_pb2.RecognizeTextResult(error=self.error)
        if self.empty:
            return ocr_pb2.RecognizeTextResult(line=ocr_pb2.TextLine())
        characters = [
            ocr_pb2.TextCharacter(text="a", confidence=0.8, start=0.0, end=0.25),
            ocr_pb2.TextCharacter(text="b", confidence=0.6, start=0.25, end=0.5),
        ]
        words = [
            ocr_pb2.TextWord(text="ab", confidence=0.7, start=0.0, end=0.5, characters=characters),
            ocr_pb2.TextWord(text="c", confidence=0.9, start=0.75, end=1.0),
        ]
        line = ocr_pb2.TextLine(text="ab c", confidence=0.8, words=words, upside_down=self.upside_down)
        return ocr_pb2.RecognizeTextResult(line=line)


def to_proto(box: Box) -> geometry_pb2.Box:
    corners = [geometry_pb2.Point(x=p.x, y=p.y) for p in box.corners]
    return geometry_pb2.Box(top_left=corners[0], top_right=corners[1], bottom_right=corners[2], bottom_left=corners[3])


def page(
    width: int = 400, height: int = 300, rgb: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None" = None
) -> PageImage:
    pixels = np.full((height, width, 3), 255, np.uint8) if rgb is None else rgb
    return PageImage(1, width, height, memoryview(pixels.tobytes()))


def places(points: Sequence[Point]) -> list[tuple[float, float]]:
    return [(round(p.x, 1), round(p.y, 1)) for p in points]


async def test_words_and_characters_are_placed_on_the_page() -> None:
    models = ScriptedModels(Box.upright(100, 50, 200, 70))
    text = await OcrPageReader(models).read(page())
    [line] = text.lines
    assert line.text == "ab c"
    assert text.models == ("det@1", "rec@1")
    first, second = line.words
    assert places(first.box.corners) == [(100, 50), (150, 50), (150, 70), (100, 70)]
    assert places(second.box.corners) == [(175, 50), (200, 50), (200, 70), (175, 70)]
    assert [(c.text, round(c.confidence, 3), c.box.left) for c in first.characters] == [
        ("a", 0.8, 100.0),
        ("b", 0.6, 125.0),
    ]
    assert (models.crops[0].width, models.crops[0].height) == (100, 20)


async def test_the_crop_shows_what_is_in_the_box() -> None:
    pixels = np.full((300, 400, 3), 255, np.uint8)
    pixels[50:70, 100:150] = (250, 10, 20)
    pixels[50:70, 150:200] = (10, 20, 250)
    models = ScriptedModels(Box.upright(100, 50, 200, 70))
    await OcrPageReader(models).read(page(rgb=pixels))
    [crop] = models.crops
    seen = np.frombuffer(crop.data, np.uint8).reshape(crop.height, crop.width, 3)
    assert crop.format == ocr_pb2.PIXEL_FORMAT_RGB8
    assert tuple(seen[10, 20]) == (250, 10, 20)
    assert tuple(seen[10, 80]) == (10, 20, 250)


async def test_a_tilted_line_has_tilted_words() -> None:
    angle = math.radians(30)
    along, down = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    corner = Point(100, 100)
    end = Point(100 + 100 * along[0], 100 + 100 * along[1])
    tilted = Box(
        corner, end, Point(end.x + 20 * down[0], end.y + 20 * down[1]), Point(100 + 20 * down[0], 100 + 20 * down[1])
    )
    models = ScriptedModels(tilted)
    [line] = (await OcrPageReader(models).read(page())).lines
    middle = line.words[0].box.top_right
    assert middle.x == pytest.approx(100 + 50 * along[0])
    assert middle.y == pytest.approx(100 + 50 * along[1])
    assert (models.crops[0].width, models.crops[0].height) == (100, 20)


async def test_writing_that_runs_down_the_page_is_turned_and_its_words_run_down() -> None:
    models = ScriptedModels(Box.upright(300, 50, 320, 150))
    [line] = (await OcrPageReader(models).read(page())).lines
    assert (models.crops[0].width, models.crops[0].height) == (100, 20)
    first = line.words[0].box
    assert (first.top, first.bottom) == (50, 100)
    assert places([first.top_left]) == [(320, 50)]


async def test_a_line_upside_down_begins_at_its_lower_right() -> None:
    models = ScriptedModels(Box.upright(100, 50, 200, 70), upside_down=True)
    [line] = (await OcrPageReader(models).read(page())).lines
    assert places([line.box.top_left]) == [(200, 70)]
    assert (line.words[0].box.left, line.words[0].box.right) == (150, 200)


async def test_a_large_page_is_searched_small_and_read_in_full() -> None:
    on_small_page = Box.upright(100, 50, 300, 90)
    models = ScriptedModels(on_small_page)
    [line] = (await OcrPageReader(models).read(page(4000, 3000))).lines
    assert (models.searched[0].width, models.searched[0].height) == (2000, 1500)
    assert places(line.box.corners) == [(200, 100), (600, 100), (600, 180), (200, 180)]
    assert (models.crops[0].width, models.crops[0].height) == (400, 80)


async def test_many_lines_are_read_in_few_calls_and_none_is_lost() -> None:
    models = ScriptedModels(*(Box.upright(10, 1 + i / 10, 60, 11 + i / 10) for i in range(1201)))
    text = await OcrPageReader(models).read(page())
    assert len(text.lines) == 1201
    assert models.calls == 3


async def test_a_page_without_text_is_no_lines() -> None:
    assert (await OcrPageReader(ScriptedModels()).read(page())).lines == ()
    models = ScriptedModels(Box.upright(100, 50, 200, 70))
    models.empty = True
    assert (await OcrPageReader(models).read(page())).lines == ()


async def test_a_line_that_fails_fails_the_page_with_its_reason() -> None:
    models = ScriptedModels(Box.upright(100, 50, 200, 70))
    models.error = status_pb2.Status(code=code_pb2.UNAVAILABLE, message="gone")
    with pytest.raises(CandelaError) as failed:
        await OcrPageReader(models).read(page())
    assert isinstance(failed.value, Unavailable)


@pytest.mark.parametrize("box", [Box.upright(0, 0, 0, 0), Box.upright(-50, -50, 5, 5), Box.upright(390, 290, 900, 800)])
async def test_boxes_at_and_beyond_the_edge_are_cut_without_failing(box: Box) -> None:
    models = ScriptedModels(box)
    await OcrPageReader(models).read(page())
    [crop] = models.crops
    assert crop.width * crop.height * 3 == len(crop.data)
