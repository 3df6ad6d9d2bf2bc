"""Which models there are. A model's module, with everything heavy it needs, is imported only when it is created."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import Any

from inference_server.models.device import Runtime
from inference_server.models.model import Model


class Task(StrEnum):
    """What a model does; an RPC serves one task with any model that does it."""

    DETECT_TEXT = "detect-text"
    RECOGNIZE_TEXT = "recognize-text"
    DETECT_PLATES = "detect-plates"
    READ_PLATES = "read-plates"
    EMBED_TEXTS = "embed-texts"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that can be loaded: its task, and where its class is. The class takes the runtime."""

    name: str
    task: Task
    module: str
    type_name: str

    def create(self, runtime: Runtime) -> Model[Any, Any]:
        """Import the model's module and make the model, not yet loaded. From any thread."""
        factory: Callable[[Runtime], Model[Any, Any]] = getattr(import_module(self.module), self.type_name)
        return factory(runtime)


_ENTRIES = (
    Entry("ppocr-det", Task.DETECT_TEXT, "inference_server.models.ppocr_detection", "TextDetection"),
    Entry("ppocr-rec", Task.RECOGNIZE_TEXT, "inference_server.models.ppocr_recognition", "TextRecognition"),
    Entry("plate-det", Task.DETECT_PLATES, "inference_server.models.plate_detection", "PlateDetection"),
    Entry("plate-rec", Task.READ_PLATES, "inference_server.models.plate_recognition", "PlateRecognition"),
    Entry("sentence-embed", Task.EMBED_TEXTS, "inference_server.models.sentence_embedding", "SentenceEmbedding"),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
