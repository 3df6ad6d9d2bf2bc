"""PP-OCRv6 text detection: where the lines of text lie on a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import dist

import numpy as np
import numpy.typing as npt
import onnxruntime

from inference_server.models.device import Runtime
from inference_server.models.model import ModelCard, run_prepared
from inference_server.models.opencv import cv2
from inference_server.models.picture import Picture
from inference_server.models.sample_pictures import sample_page
from inference_server.models.sessions import frugal, open_session
from inference_server.models.signatures import DetectionSignature
from inference_server.models.tensors import Pixels, Scaling, fill_planes
from inference_server.models.text import Corner, Region
from inference_server.models.text_boxes import Corners, find_boxes
from inference_server.models.weights import Weights
from services.kit.errors import CandelaError

WEIGHTS = Weights(
    "rapidocr",
    "models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)

# rapidocr's defaults: the short side is brought up to 736, and nothing goes in with a side above 2,000.
_SHORT_SIDE = 736
_LONG_SIDE = 2000
_STRIDE = 32
# PaddleOCR trains its detectors with ImageNet's statistics. rapidocr feeds them -1 … 1, and then a page with a single
# short line on it comes back empty.
_IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# A picture longer than eight times its other side is widened with its own edge to this proportion: the network was
# trained on pages and photographs, and on strips it misses the text.
_MAX_ASPECT = 8
# Regions thinner than this many pixels hold no text.
_MIN_SIDE = 3


@dataclass(frozen=True, slots=True)
class _Frame:
    """How a picture goes into the network: padded to one size (all in pixels), then resized to another."""

    left: int
    top: int
    padded: tuple[int, int]
    tensor: tuple[int, int]


class TextDetection:
    """PP-OCRv6 small; batches hold pictures whose tensors have the same shape (all A4 scans of one resolution do)."""

    signature = DetectionSignature()

    def __init__(self, runtime: Runtime) -> None:
        # On a CPU a batch of pages takes twice as long as two pages; one run already uses every core.
        batch = 1 if runtime.on_cpu else 8
        self._card = ModelCard("ppocr-det", "v6-small", max_batch=batch, instances=1, platform="onnxruntime_onnx")
        self._runtime = runtime
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def card(self) -> ModelCard:
        return self._card

    def load(self) -> None:
        self._session = open_session(WEIGHTS.read(), self._runtime, threads=self._runtime.cores)

    def samples(self) -> Sequence[Picture]:
        return [sample_page(lines, 448, 448) for lines in (("Two lines", "of print"), ("Total", "12.50", "Date"))]

    def warm_up(self) -> None:
        # On a CPU the first page then takes 7 % more CPU than the next; running a whole one here would make every start
        # 0.7 s of CPU longer. A GPU chooses its algorithms and takes its memory by the shape.
        shape = (1, 3, 64, 64) if self._runtime.on_cpu else (1, 3, 1760, 1248)
        self._loaded().run(None, {"x": np.zeros(shape, dtype=np.float32)}, frugal(self._runtime))

    def bucket(self, item: Picture) -> tuple[int, int]:
        """Return the tensor's (width, height)."""
        return _frame(item.width, item.height).tensor

    def run(self, batch: Sequence[Picture]) -> list[list[Region] | CandelaError]:
        return run_prepared(batch, Pixels.of, self._regions)

    def close(self) -> None:
        self._session = None

    def _regions(self, pictures: Sequence[Pixels]) -> list[list[Region]]:
        frames = [_frame(pixels.width, pixels.height) for pixels in pictures]
        width, height = frames[0].tensor
        tensor = np.empty((len(pictures), 3, height, width), dtype=np.float32)
        for planes, pixels, frame in zip(tensor, pictures, frames, strict=True):
            fill_planes(planes, _padded(pixels, frame), width, height, _IMAGENET)
        maps = self._loaded().run(None, {"x": tensor}, frugal(self._runtime))[0]
        return [
            _regions(scores[0], pixels, frame) for scores, pixels, frame in zip(maps, pictures, frames, strict=True)
        ]

    def _loaded(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            raise RuntimeError("the detection model is used before load()")
        return self._session


def _frame(width: int, height: int) -> _Frame:
    padded_width = max(width, height // _MAX_ASPECT)
    padded_height = max(height, width // _MAX_ASPECT)
    short, long = sorted((padded_width, padded_height))
    scale = min(max(1.0, _SHORT_SIDE / short), _LONG_SIDE / long)
    return _Frame(
        left=(padded_width - width) // 2,
        top=(padded_height - height) // 2,
        padded=(padded_width, padded_height),
        tensor=(_to_stride(padded_width * scale), _to_stride(padded_height * scale)),
    )


def _to_stride(side: float) -> int:
    return max(_STRIDE, round(int(side) / _STRIDE) * _STRIDE)


def _padded(item: Pixels, frame: _Frame) -> Pixels:
    width, height = frame.padded
    if (width, height) == (item.width, item.height):
        return item
    below, right = height - item.height - frame.top, width - item.width - frame.left
    array = cv2.copyMakeBorder(item.array, frame.top, below, frame.left, right, cv2.BORDER_REPLICATE)
    return Pixels(np.asarray(array, dtype=np.uint8).reshape(height, width, item.format.channels), item.format)


def _regions(scores: npt.NDArray[np.float32], item: Pixels, frame: _Frame) -> list[Region]:
    regions = (Region(_corners(corners, item, frame), min(1.0, score)) for corners, score in find_boxes(scores))
    return [region for region in regions if _is_solid(region)]


def _corners(corners: Corners, item: Pixels, frame: _Frame) -> Corners:
    """Move corners from the map to the picture itself, and into its bounds."""
    first, second, third, fourth = (_moved(corner, item, frame) for corner in corners)
    return first, second, third, fourth


def _moved(corner: Corner, item: Pixels, frame: _Frame) -> Corner:
    x = corner[0] * frame.padded[0] / frame.tensor[0] - frame.left
    y = corner[1] * frame.padded[1] / frame.tensor[1] - frame.top
    return min(max(x, 0.0), float(item.width)), min(max(y, 0.0), float(item.height))


def _is_solid(region: Region) -> bool:
    """Whether both sides are long enough to hold text (regions in the padding are flat after they were moved)."""
    top_left, top_right, _, bottom_left = region.corners
    return dist(top_left, top_right) > _MIN_SIDE and dist(top_left, bottom_left) > _MIN_SIDE
