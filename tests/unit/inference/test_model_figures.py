"""The command that measures the models counts what it says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_server.models.device import Runtime
from inference_server.models.plate_recognition import PlateRecognition
from inference_server.models.sample_pictures import sample_plate
from scripts.model_figures import main, speed


def test_plates_are_counted_by_their_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("A12345", "A12345"), ("B6C789-2", "B6C789"), ("Z00000", "KD0321")):
        plate = sample_plate(text, 94, 24)
        pixels = np.frombuffer(plate.data, dtype=np.uint8).reshape(plate.height, plate.width, 3)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    main(["plates", str(tmp_path)])
    wrong, total = capsys.readouterr().out.splitlines()
    assert wrong.startswith("Z00000 was read as KD0321 (")
    assert total == "2 of 3 read right"


def test_speed_is_told_for_every_size() -> None:
    model = PlateRecognition(Runtime(threads=1))
    model.load()
    found = dict(speed(model, sizes=(1, 2), items=2))
    assert list(found) == [1, 2]
    assert all(0 < seconds < 5 for seconds in found.values())
