"""Runs one model: a bounded queue, instances on threads or in processes, typed errors for single items, an orderly end.

The policy stands in batching; this folder is where it meets threads, processes, models and clocks.
"""

from inference_server.engine.engine import Bounds, Engine
from inference_server.engine.work import Item, Submission, Work

__all__ = ["Bounds", "Engine", "Item", "Submission", "Work"]
