"""Triton's Python backend: `model.py` of the bench's model repository. tritons.py configures the server itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from tests.bench.inference.peers.orders import ordered_run


class TritonPythonModel:
    """The workload's model as Triton wants it: a batch is a list of requests of one item each."""

    def initialize(self, args: dict[str, str]) -> None:
        """Make the model in the backend's process."""
        self._run = ordered_run()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run a batch."""
        batch = [pb_utils.get_input_tensor_by_name(one, "INPUT").as_numpy().data.cast("B") for one in requests]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", np.frombuffer(answer, np.uint8).reshape(1, -1))])
            for answer in self._run(batch)
        ]
