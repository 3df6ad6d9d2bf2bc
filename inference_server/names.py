"""The names of the inference server's span, its attributes and its metrics, as data."""

from typing import Final

from observability.names import Metric

# One span for each batch that has a sampled request in it: a child of the first such request, with a link to each.
BATCH_SPAN: Final = "inference.batch"
MODEL: Final = "candela.inference.model"
BATCH_SIZE: Final = "candela.inference.batch_size"
FAILED_ITEMS: Final = "candela.inference.failed_items"
QUEUE_MS: Final = "candela.inference.queue_ms"  # of the item that waited longest
COMPUTE_MS: Final = "candela.inference.compute_ms"
SHAPE: Final = "candela.inference.shape"
TENANTS: Final = "candela.inference.tenants"  # how many tenants had items in the batch
INSTANCE: Final = "candela.inference.instance"
BEST_SIZE: Final = "candela.inference.best_size"  # what the cost model held for the best size of this shape

# How items end. The first two come out of batches, the others never ran: their deadline passed or could no longer be
# met, they made way for work of a higher priority, their caller went away or the server stopped.
DONE: Final = "done"
FAILED: Final = "failed"
EXPIRED: Final = "expired"
DISPLACED: Final = "displaced"
CANCELLED: Final = "cancelled"
OUTCOMES: Final = (DONE, FAILED, EXPIRED, DISPLACED, CANCELLED)
REFUSED: Final = "refused"  # beside the outcomes where tenants are counted: not let in at all

# The tenant that stands for all without a label of their own.
OTHER_TENANTS: Final = "other"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

QUEUE_SECONDS: Final = Metric(
    "inference_queue_seconds", "Time that items waited before their batch began.", ("model",), _SECONDS
)
BATCH_ITEMS: Final = Metric("inference_batch_items", "Items in a batch.", ("model",), _SIZES)
COMPUTE_SECONDS: Final = Metric("inference_compute_seconds", "Time that a batch took to compute.", ("model",), _SECONDS)
ITEMS: Final = Metric(
    "inference_items_total",
    "Items that came to an end: done, failed, expired, displaced or cancelled.",
    ("model", "outcome"),
)
REFUSALS: Final = Metric(
    "inference_refusals_total", "Requests that were refused before they waited, by reason.", ("model", "reason")
)
WAITING: Final = Metric("inference_waiting_items", "Items that wait now.", ("model",))
WAITING_BYTES: Final = Metric("inference_waiting_bytes", "Bytes of inputs that wait now.", ("model",))
BEST_BATCH: Final = Metric(
    "inference_best_batch_items", "Items a batch that are best for the model's busiest shape, as measured.", ("model",)
)
BATCH_FAILURES: Final = Metric(
    "inference_batch_failures_total", "Batches in which every item failed: a defect of the model.", ("model",)
)
TENANT_ITEMS: Final = Metric(
    "inference_tenant_items_total",
    "Items by tenant and how they ended, or refused; the busiest tenants by name, all others as `other`.",
    ("model", "tenant", "outcome"),
)
TENANT_COMPUTE: Final = Metric(
    "inference_tenant_compute_seconds_total",
    "Time that models computed for a tenant: its part of each batch, by items.",
    ("model", "tenant"),
)
READY: Final = Metric(
    "inference_model_ready", "1 for a model that answers, 0 for one that is to and does not.", ("model",)
)
