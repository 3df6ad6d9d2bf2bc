"""Decides where a model's instances compute."""

from collections.abc import Sequence
from typing import Any

from inference_server.engine.compute import OnThread, Runner
from inference_server.models.model import Model, ModelCard, Placement
from inference_server.processes.runner import InProcess


def runners_of(models: Sequence[Model[Any, Any]], card: ModelCard) -> list[Runner]:
    """Return where to run batches, to be shared out over the instances in turn.

    Threads share the model of their device, which is loaded once. Each instance in a process has a model of its own.
    """
    if card.placement is Placement.PROCESS:
        return [InProcess(model) for _ in range(card.instances) for model in models]
    return [OnThread(model) for model in models]
