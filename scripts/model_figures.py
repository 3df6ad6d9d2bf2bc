"""The figures of docs/models.md, measured again on this machine.

python -m scripts.model_figures speed sentence-embed     # CPU of one item in batches of several sizes
python -m scripts.model_figures plates FOLDER            # how many plates are read right; `皖A12345.jpg` shows 皖A12345
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inference_server.models.catalogue import CATALOGUE
from inference_server.models.device import Runtime
from inference_server.models.model import Model
from inference_server.models.picture import Picture, PixelFormat
from inference_server.models.plate import Plate
from inference_server.models.plate_recognition import PlateRecognition

_SIZES = (1, 8, 32, 64)
_ITEMS = 128  # a measurement
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp"}


@dataclass(frozen=True, slots=True)
class Reading:
    """A plate, what was read of it, and how sure the model was."""

    expected: str
    found: str
    confidence: float

    @property
    def right(self) -> bool:
        return self.found == self.expected


def speed(model: Model[Any, Any], sizes: Sequence[int] = _SIZES, items: int = _ITEMS) -> Iterator[tuple[int, float]]:
    """Give batch sizes and the seconds of CPU that one item of a batch takes; the first sample's shape only."""
    samples = model.samples()
    alike = [sample for sample in samples if model.bucket(sample) == model.bucket(samples[0])]
    for size in sizes:
        batch = [alike[index % len(alike)] for index in range(size)]
        model.run(batch)
        runs = max(1, items // size)
        began = time.process_time()
        for _ in range(runs):
            model.run(batch)
        yield size, (time.process_time() - began) / (runs * size)


def plates(model: PlateRecognition, folder: Path) -> Iterator[Reading]:
    """Read every picture of a folder; the file's name up to the first `-` is what stands on the plate."""
    for file in sorted(one for one in folder.iterdir() if one.suffix.lower() in _PICTURES):
        pixels = cv2.imdecode(np.fromfile(file, dtype=np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise SystemExit(f"{file.name} is no picture")
        height, width = pixels.shape[:2]
        (plate,) = model.run([Picture(pixels.tobytes(), width, height, PixelFormat.BGR8)])
        if not isinstance(plate, Plate):
            raise SystemExit(f"{file.name}: {plate}")
        yield Reading(file.stem.split("-")[0], plate.text, plate.confidence)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.model_figures", description="Measures built-in models.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("speed").add_argument("model", choices=CATALOGUE)
    commands.add_parser("plates").add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command == "speed":
        model = CATALOGUE[chosen.model].create(Runtime(threads=1))
        model.load()
        for size, seconds in speed(model):
            print(f"batch {size:3}: {seconds * 1000:8.2f} ms of CPU an item")
        return
    reader = PlateRecognition(Runtime(threads=1))
    reader.load()
    readings = list(plates(reader, chosen.folder))
    for wrong in (one for one in readings if not one.right):
        print(f"{wrong.expected} was read as {wrong.found or 'nothing'} ({wrong.confidence:.2f})")
    print(f"{sum(one.right for one in readings)} of {len(readings)} read right")


if __name__ == "__main__":
    main()
