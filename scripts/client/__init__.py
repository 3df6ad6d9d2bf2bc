"""Generates the client's methods: one for every public RPC, synchronous and asynchronous from one source.

contract.py reads descriptors, names.py decides what is called how, parameters.py flattens requests into keyword
arguments, methods.py and modules.py write Python. scripts/generate.py calls `write`.
"""

from scripts.client.modules import write

__all__ = ["write"]
