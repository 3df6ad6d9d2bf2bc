"""PP-OCR's text-line orientation classifier: is a line upside down?"""

from collections.abc import Iterator, Sequence
from itertools import islice
from statistics import fmean

import numpy as np
import onnxruntime

from inference_server.models.device import Runtime
from inference_server.models.sessions import open_session
from inference_server.models.tensors import Pixels, fill_planes
from inference_server.models.weights import Weights

WEIGHTS = Weights(
    "rapidocr",
    "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
)
_HEIGHT, _WIDTH = 48, 192
_MAX_BATCH = 32


class LineOrientation:
    """The classifier, over both ends of a line.

    It was trained on 48 × 192 pixels. Squeezing a whole line of print into that, as rapidocr does, makes it turn every
    tenth upright line. Over the first and the last four heights of a line, averaged, it is wrong about 2 of 930
    rendered lines; what is left is caught by the reader, who is never sure of a line that is upside down.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._session: onnxruntime.InferenceSession | None = None

    def load(self) -> None:
        self._session = open_session(WEIGHTS.read(), self._runtime, threads=1)

    def upside_down(self, lines: Sequence[Pixels]) -> list[float]:
        """Return for each line the probability (0 to 1) that it is upside down."""
        ends = [_ends(line) for line in lines]
        found = self._classify([end for pair in ends for end in pair])
        return [fmean(islice(found, len(pair))) for pair in ends]

    def close(self) -> None:
        self._session = None

    def _classify(self, windows: Sequence[Pixels]) -> Iterator[float]:
        if self._session is None:
            raise RuntimeError("the orientation classifier is used before load()")
        for start in range(0, len(windows), _MAX_BATCH):
            batch = windows[start : start + _MAX_BATCH]
            tensor = np.zeros((len(batch), 3, _HEIGHT, _WIDTH), dtype=np.float32)
            for planes, window in zip(tensor, batch, strict=True):
                width = min(_WIDTH, -(-_HEIGHT * window.width // window.height))
                fill_planes(planes, window, width, _HEIGHT)
            yield from self._session.run(None, {"x": tensor})[0][:, 1].tolist()


def _ends(line: Pixels) -> tuple[Pixels, ...]:
    """Return the part of a line at its left end and the one at its right end, or a short line as it is."""
    window = max(1, line.height * _WIDTH // _HEIGHT)
    if line.width <= window:
        return (line,)
    return Pixels(line.array[:, :window], line.format), Pixels(line.array[:, -window:], line.format)
