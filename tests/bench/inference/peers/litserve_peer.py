"""LitServe: one worker, batches of what waits, ZeroMQ between its processes (`fast_queue`, recommended for high load).

An item is base64 in JSON: other bodies are not read, but forms.

`batch_timeout` is how long it waits to fill a batch: a tenth of the model's time, and its default, 0, where one client
is alone. Its request timeout is the deadline: what waited longer is answered 504 without running.
"""

import base64
import os
from collections.abc import Sequence
from typing import Any

import litserve

from tests.bench.inference.peers.orders import DEADLINE, PORT, WORKLOAD, ordered_run

# ZeroMQ between its processes; without it they use queues of multiprocessing, which is its default.
_FAST = os.environ.get("CANDELA_BENCH_FAST_QUEUE", "1") == "1"


class Api(litserve.LitAPI):
    """The workload's model as LitServe wants it."""

    def setup(self, device: str) -> None:
        """Make the model in the worker's process."""
        self._run = ordered_run()

    def decode_request(self, request: dict[str, str]) -> bytes:
        """Take the item out of its base64."""
        return base64.b64decode(request["item"])

    def batch(self, inputs: Sequence[bytes]) -> list[bytes]:
        """Leave items apart; the model puts them together."""
        return list(inputs)

    def predict(self, batch: list[bytes]) -> list[bytes]:
        """Run a batch."""
        return self._run(batch)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Give each item its answer."""
        return output

    def encode_response(self, output: bytes) -> dict[str, str]:
        """Answer with base64."""
        return {"answer": base64.b64encode(output).decode()}


def main() -> None:
    """Serve until killed."""
    window = (WORKLOAD.seconds or 0.0) / 10
    api: Any = Api(max_batch_size=WORKLOAD.max_batch, batch_timeout=window)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=1, timeout=DEADLINE or 30, fast_queue=_FAST, disable_openapi_url=True
    )
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
