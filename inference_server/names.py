"""The names of the inference server's span, its attributes and its metrics, as data."""

from typing import Final

from observability.names import Metric

# One span for each batch: a child of the first request in it, with a link to every request in it.
BATCH_SPAN: Final = "inference.batch"
MODEL: Final = "candela.inference.model"
BATCH_SIZE: Final = "candela.inference.batch_size"
FAILED_ITEMS: Final = "candela.inference.failed_items"
QUEUE_MS: Final = "candela.inference.queue_ms"  # of the item that waited longest
COMPUTE_MS: Final = "candela.inference.compute_ms"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

QUEUE_SECONDS: Final = Metric(
    "inference_queue_seconds", "Time that items waited before their batch began.", ("model",), _SECONDS
)
BATCH_ITEMS: Final = Metric("inference_batch_items", "Items in a batch.", ("model",), _SIZES)
COMPUTE_SECONDS: Final = Metric("inference_compute_seconds", "Time that a batch took to compute.", ("model",), _SECONDS)
ITEMS: Final = Metric(
    "inference_items_total", "Items that came to an end: done, failed, expired or cancelled.", ("model", "outcome")
)
REFUSALS: Final = Metric(
    "inference_refusals_total", "Requests that were refused before they waited, by reason.", ("model", "reason")
)
WAITING: Final = Metric("inference_waiting_items", "Items that wait now.", ("model",))
