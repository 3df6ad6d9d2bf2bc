"""The scheduling policy of one model: items and a clock's readings in, batches out. No I/O, no threads, no asyncio."""

from inference_server.batching.costs import CostModel
from inference_server.batching.queue import BatchQueue
from inference_server.batching.tickets import Ended, Limits, Priority, Taken, Ticket

__all__ = ["BatchQueue", "CostModel", "Ended", "Limits", "Priority", "Taken", "Ticket"]
