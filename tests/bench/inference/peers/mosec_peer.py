"""MOSEC: one worker process behind its server in Rust. Run with `--port` and `--timeout` (the deadline in ms).

`max_wait_time` is how long it waits to fill a batch: one millisecond, the least it takes when it batches.
"""

from mosec import Server, Worker

from tests.bench.inference.peers.orders import WORKLOAD, ordered_run


class Model(Worker):
    """The workload's model as MOSEC wants it: bytes in, bytes out."""

    def __init__(self) -> None:
        super().__init__()
        self._run = ordered_run()

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def serialize(self, data: bytes) -> bytes:
        """Answer with bytes."""
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        """Run a batch."""
        return self._run(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=WORKLOAD.max_batch, max_wait_time=1)
    server.run()
