"""The plate models: where plates are on pictures of any size, and what stands on them."""

from functools import cache
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference_server.models.ctc import Glyph
from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.plate import Plate, PlateRegion
from inference_server.models.plate_anchors import Outputs, find_plates
from inference_server.models.plate_detection import PlateDetection
from inference_server.models.plate_recognition import PlateRecognition, spread
from inference_server.models.sample_pictures import sample_plate, sample_scene
from services.kit.errors import CandelaError
from tests.support.device import RUNTIME

T = TypeVar("T")
TEXTS = ("A12345", "B6C789", "KD0321", "Z98F65")
# Where sample_scene puts its plate on a picture of 512 × 384 pixels.
LEFT, TOP, RIGHT, BOTTOM = 146, 192, 366, 262


@cache
def detection() -> PlateDetection:
    model = PlateDetection(RUNTIME)
    model.load()
    return model


@cache
def recognition() -> PlateRecognition:
    model = PlateRecognition(RUNTIME)
    model.load()
    return model


def good(result: T | CandelaError) -> T:
    assert not isinstance(result, CandelaError), result
    return result


def found(item: Picture) -> list[PlateRegion]:
    return good(detection().run([item])[0])


def read(item: Picture) -> Plate:
    return good(recognition().run([item])[0])


def pixels_of(item: Picture) -> npt.NDArray[np.uint8]:
    return np.frombuffer(item.data, dtype=np.uint8).reshape(item.height, item.width, 3)


def picture(array: npt.NDArray[Any], layout: PixelFormat = PixelFormat.RGB8) -> Picture:
    return Picture(np.ascontiguousarray(array).tobytes(), array.shape[1], array.shape[0], layout)


def overlap(region: PlateRegion, scale: float = 1.0) -> float:
    """Return how much of the drawn plate and the region's upright box they share."""
    (left, top), _, (right, bottom), _ = region.corners
    width = min(right, RIGHT * scale) - max(left, LEFT * scale)
    height = min(bottom, BOTTOM * scale) - max(top, TOP * scale)
    drawn = (RIGHT - LEFT) * (BOTTOM - TOP) * scale * scale
    return width * height / (drawn + (right - left) * (bottom - top) - width * height)


def test_a_plate_is_found_where_it_is() -> None:
    (region,) = found(sample_scene("A12345", 512, 384))
    assert overlap(region) > 0.55  # the network takes the frame's inside for the plate
    assert 0.7 < region.score <= 1.0
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = region.corners
    assert ax < bx
    assert dx < cx
    assert ay < dy
    assert by < cy


def test_a_photograph_beyond_the_networks_size_is_scaled_and_its_corners_are_its_own() -> None:
    scene = np.full((2304, 3072, 3), 110, dtype=np.uint8)
    scene[:1152, :1536] = cv2.resize(pixels_of(sample_scene("A12345", 512, 384)), (1536, 1152))
    assert detection().bucket(picture(scene)) == (1920, 1472)
    (region,) = found(picture(scene))
    assert overlap(region, scale=3.0) > 0.55


def test_a_picture_without_a_plate_has_none() -> None:
    assert found(picture(np.full((300, 400, 3), 127, dtype=np.uint8))) == []


@pytest.mark.parametrize("size", [(1, 1), (9000, 1), (1, 9000), (94, 24)])
def test_odd_shapes_are_answered(size: tuple[int, int]) -> None:
    odd = picture(np.full((size[1], size[0], 3), 200, dtype=np.uint8))
    width, height = detection().bucket(odd)
    assert width % 32 == height % 32 == 0
    assert max(width, height) <= 1920
    assert found(odd) == []
    assert recognition().bucket(odd) in range(320, 641, 64)
    assert all(0.0 <= one.start <= one.end <= 1.0 for one in read(odd).characters)


@pytest.mark.parametrize("text", TEXTS)
def test_a_plate_is_read_from_left_to_right(text: str) -> None:
    plate = read(sample_plate(text, 94, 24))
    assert plate.text == text
    assert plate.confidence > 0.8
    assert all(0.0 < one.confidence <= 1.0 for one in plate.characters)
    edges = [edge for one in plate.characters for edge in (one.start, one.end)]
    assert edges == sorted(edges)
    assert edges[0] >= 0.0
    assert edges[-1] <= 1.0


def test_characters_are_where_they_were_drawn() -> None:
    plate = read(sample_plate("A12345", 188, 48))
    drawn = [(14 + 27 * place, 14 + 27 * (place + 1)) for place in range(6)]  # of 220 pixels
    for character, (left, right) in zip(plate.characters, drawn, strict=True):
        middle = (character.start + character.end) / 2 * 220
        assert left - 6 <= middle <= right + 6, character


def test_the_order_of_colours_makes_no_difference() -> None:
    rgb = pixels_of(sample_plate("B6C789", 94, 24))
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    as_bgr, as_grey = picture(rgb[:, :, ::-1], PixelFormat.BGR8), picture(grey, PixelFormat.GRAY8)
    assert [read(picture(rgb)).text, read(as_bgr).text, read(as_grey).text] == ["B6C789"] * 3


def test_an_empty_crop_is_a_plate_without_characters() -> None:
    plate = read(picture(np.zeros((24, 94, 3), dtype=np.uint8)))
    assert (plate.text, plate.confidence, plate.characters) == ("", 0.0, ())


def glyphs(*centers: float) -> list[Glyph]:
    return [Glyph(str(number), 0.9, center) for number, center in enumerate(centers)]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # The first two are told at once; they share the room left of the third, whose half is half of the pitch.
        ((0.5, 1.5, 9.0, 12.0, 15.0), [1.875, 5.625, 9.0, 12.0, 15.0]),
        ((0.5, 6.0, 9.0, 12.0), [2.25, 6.0, 9.0, 12.0]),
        ((4.0, 7.0, 10.0), [4.0, 7.0, 10.0]),
        ((0.5, 1.5, 9.0), [0.5, 1.5, 9.0]),
        ((), []),
    ],
)
def test_characters_that_are_told_before_they_are_seen_get_room(told: tuple[float, ...], expected: list[float]) -> None:
    assert [glyph.center for glyph in spread(glyphs(*told))] == pytest.approx(expected)


SIZE = (64, 64)
ANCHORS = 2 * (8 * 8 + 4 * 4 + 2 * 2)


def outputs(sure: dict[int, float]) -> Outputs:
    """Return outputs in which so many anchors are sure of a plate of exactly their own square."""
    scores = np.zeros((ANCHORS, 2), dtype=np.float32)
    corners = np.zeros((ANCHORS, 8), dtype=np.float32)
    for anchor, score in sure.items():
        scores[anchor] = 1 - score, score
        corners[anchor] = [5, 5, -5, 5, -5, -5, 5, -5]  # lower right first; five units are half a side
    return Outputs(np.zeros((ANCHORS, 4), dtype=np.float32), scores, corners)


def test_an_anchors_corners_begin_at_the_upper_left() -> None:
    # The first grid's second row, third place, first anchor: 24 pixels around (20, 12).
    (region,) = find_plates(outputs({2 * (8 + 2): 0.9}), SIZE)
    assert [value for corner in region.corners for value in corner] == pytest.approx([8, 0, 32, 0, 32, 24, 8, 24])
    assert region.score == pytest.approx(0.9)


def test_the_surest_of_overlapping_boxes_stays_and_doubtful_ones_do_not_count() -> None:
    # Neighbours 8 pixels apart share half of their union; those 48 apart share nothing.
    first, neighbour, far, doubtful = (2 * (8 + column) for column in (0, 1, 6, 3))
    regions = find_plates(outputs({first: 0.8, neighbour: 0.95, far: 0.75, doubtful: 0.69}), SIZE)
    assert [region.score for region in regions] == pytest.approx([0.95, 0.75])
