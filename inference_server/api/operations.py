"""Every typed RPC over models, for the doors that serve them all."""

from collections.abc import Sequence
from typing import Any

from inference_server.api import embeddings, ocr, plates
from inference_server.api.operation import Operation

OPERATIONS: Sequence[Operation[Any, Any]] = (*ocr.OPERATIONS, *plates.OPERATIONS, *embeddings.OPERATIONS)
