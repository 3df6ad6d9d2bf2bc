"""PP-OCRv6 text recognition: reads crops of single lines, of any width, from many requests at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from inference_server.models import ctc, placement
from inference_server.models.device import Runtime
from inference_server.models.model import Arrays, ModelCard, TensorSpec, run_prepared
from inference_server.models.ppocr_orientation import LineOrientation
from inference_server.models.sample_pictures import sample_line
from inference_server.models.sessions import frugal, open_session
from inference_server.models.signatures import (
    CHARACTER_TENSORS,
    character_arrays,
    floats,
    picture_of,
    picture_tensor,
    texts,
)
from inference_server.models.tensors import Pixels, fill_planes
from inference_server.models.text import Line, LineCrop, compose
from inference_server.models.weights import Weights, WeightsError
from services.kit.errors import CandelaError

WEIGHTS = Weights(
    "rapidocr",
    "models/PP-OCRv6_rec_small.onnx",
    "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
)
_HEIGHT = 48
_MIN_WIDTH, _MAX_WIDTH = 320, 3200
# A line that is read the right way up is read with more confidence than this, and one that is upside down with less
# (measured on rendered lines: at least 0.98, and at most 0.83).
_SURE_READING = 0.9
# Below this probability of being upside down, a doubtful reading is put down to the picture.
_MAYBE_TURNED = 0.1


@dataclass(frozen=True, slots=True)
class _Crop:
    pixels: Pixels
    detect_orientation: bool


class TextLineSignature:
    """An upright crop in; the line and its characters out. Spaces are no characters; `text` has them.

    The protocol knows no inputs that may be left out, so lines that may be upside down are for the typed RPC.
    """

    inputs = (picture_tensor("crop"),)
    outputs = (
        TensorSpec("text", "BYTES", (1,)),
        TensorSpec("confidence", "FP32", (1,)),
        *CHARACTER_TENSORS,
    )
    batched = False

    def item(self, arrays: Arrays) -> LineCrop:
        return LineCrop(picture_of(arrays, "crop"))

    def arrays(self, output: Line) -> Arrays:
        return {
            "text": texts([output.text]),
            "confidence": floats([output.confidence], 1),
            **character_arrays([character for word in output.words for character in word.characters]),
        }


class TextRecognition:
    """PP-OCRv6 small; batches hold crops whose width, at 48 pixels of height, falls into the same step.

    A crop always gets the tensor width of its own step, whoever shares its batch, so its text does not depend on them.
    """

    signature = TextLineSignature()

    def __init__(self, runtime: Runtime) -> None:
        on_cpu = runtime.on_cpu
        # On a CPU padding costs and batching gains nothing (measured), so steps are fine and batches small, and two
        # one-thread runs side by side beat one run on two threads. A GPU wants it the other way round.
        self._step = 32 if on_cpu else 160
        self._card = ModelCard(
            "ppocr-rec",
            "v6-small",
            max_batch=4 if on_cpu else 64,
            instances=runtime.cores if on_cpu else 1,
            platform="onnxruntime_onnx",
        )
        self._runtime = runtime
        self._orientation = LineOrientation(runtime)
        self._session: onnxruntime.InferenceSession | None = None
        self._alphabet: list[str] = []

    @property
    def card(self) -> ModelCard:
        return self._card

    def load(self) -> None:
        session = open_session(WEIGHTS.read(), self._runtime, threads=1)
        characters = session.get_modelmeta().custom_metadata_map.get("character", "").splitlines()
        classes = session.get_outputs()[0].shape[-1]
        if len(characters) + 2 != classes:
            raise WeightsError(f"the recognition model has {classes} classes and names {len(characters)} characters")
        self._alphabet = ["", *characters, " "]  # class 0 is CTC's blank, the last one the space
        self._orientation.load()
        self._session = session

    def samples(self) -> Sequence[LineCrop]:
        short = [LineCrop(sample_line(text, 280, 44)) for text in ("Hello world", "Total 12.50")]
        return [*short, LineCrop(sample_line("Read upside down", 300, 46), detect_orientation=True)]

    def warm_up(self) -> None:
        # On a CPU any shape warms up all others; a GPU chooses its algorithms and takes its memory by the shape.
        widths, lines = ((_MIN_WIDTH,), 1) if self._runtime.on_cpu else ((320, 960, 1600), self._card.max_batch)
        for width in widths:
            self._scores(np.zeros((lines, 3, _HEIGHT, width), dtype=np.float32))

    def bucket(self, item: LineCrop) -> int:
        """Return the width of the item's tensor in pixels."""
        return self._tensor_width(item.picture.width, item.picture.height)

    def run(self, batch: Sequence[LineCrop]) -> list[Line | CandelaError]:
        return run_prepared(batch, lambda item: _Crop(Pixels.of(item.picture), item.detect_orientation), self._lines)

    def close(self) -> None:
        self._session = None
        self._orientation.close()

    def _lines(self, crops: Sequence[_Crop]) -> list[Line]:
        asked = [crop.pixels for crop in crops if crop.detect_orientation]
        found = iter(self._orientation.upside_down(asked))
        turned = [next(found) if crop.detect_orientation else 0.0 for crop in crops]
        lines = self._read([(crop.pixels, chance > 0.5) for crop, chance in zip(crops, turned, strict=True)])
        doubtful = [
            index
            for index, (line, chance) in enumerate(zip(lines, turned, strict=True))
            if chance > _MAYBE_TURNED and line.confidence < _SURE_READING
        ]
        others = self._read([(crops[index].pixels, turned[index] <= 0.5) for index in doubtful]) if doubtful else []
        for index, other in zip(doubtful, others, strict=True):
            lines[index] = max(lines[index], other, key=lambda line: line.confidence)
        return lines

    def _read(self, crops: Sequence[tuple[Pixels, bool]]) -> list[Line]:
        """Read crops of one bucket, each as it is or turned by 180°."""
        width = self._tensor_width(crops[0][0].width, crops[0][0].height)
        tensor = np.zeros((len(crops), 3, _HEIGHT, width), dtype=np.float32)
        for planes, (pixels, upside_down) in zip(tensor, crops, strict=True):
            used = min(_scaled_width(pixels.width, pixels.height), width)
            fill_planes(planes, _turned(pixels) if upside_down else pixels, used, _HEIGHT)
        lines: list[Line] = []
        for (pixels, upside_down), planes, scores in zip(crops, tensor, self._scores(tensor), strict=True):
            used = min(_scaled_width(pixels.width, pixels.height), width)
            glyphs = ctc.decode(scores, self._alphabet)
            placed = placement.place(glyphs, planes[1, :, :used], len(scores) * used / width)
            lines.append(compose(placed, upside_down=upside_down))
        return lines

    def _tensor_width(self, width: int, height: int) -> int:
        steps = -(-_scaled_width(width, height) // self._step)
        return min(max(steps * self._step, _MIN_WIDTH), _MAX_WIDTH)

    def _scores(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._session is None:
            raise RuntimeError("the recognition model is used before load()")
        scores: npt.NDArray[np.float32] = self._session.run(None, {"x": tensor}, frugal(self._runtime))[0]
        return scores


def _scaled_width(width: int, height: int) -> int:
    """Return a crop's width when its height is 48 pixels, rounded up."""
    return -(-_HEIGHT * width // height)


def _turned(pixels: Pixels) -> Pixels:
    return Pixels(pixels.array[::-1, ::-1], pixels.format)
