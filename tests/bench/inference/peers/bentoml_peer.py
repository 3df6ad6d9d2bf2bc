"""BentoML: one worker with adaptive batching. An item is a string of base64 in JSON: raw bytes and its own binary
encoding are not to be had from outside together with batching, and a list of numbers would be slower.

Its dispatcher learns how long batches take and refuses what it thinks it cannot answer within `max_latency_ms`: the
deadline, or its default of ten seconds.
"""

import base64

import bentoml

from tests.bench.inference.peers.orders import DEADLINE, WORKLOAD, ordered_run

_DEFAULT_LATENCY_MS = 10_000


@bentoml.service(
    workers=1,
    traffic={"timeout": DEADLINE or 60, "max_concurrency": 4096},
    logging={"access": {"enabled": False}},
)
class Peer:
    """The workload's model as BentoML wants it."""

    def __init__(self) -> None:
        self._run = ordered_run()

    @bentoml.api(
        batchable=True,
        batch_dim=0,
        max_batch_size=WORKLOAD.max_batch,
        max_latency_ms=int(DEADLINE * 1000) or _DEFAULT_LATENCY_MS,
    )
    def predict(self, inputs: list[str]) -> list[str]:
        """Run a batch."""
        return [base64.b64encode(answer).decode() for answer in self._run([base64.b64decode(one) for one in inputs])]
