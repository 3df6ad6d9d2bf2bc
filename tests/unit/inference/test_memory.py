"""The memory of the process: counted with its children, and kept by the allocator for the next batch."""

import platform
import subprocess
import sys

import pytest

from inference_server.memory import resident_bytes

_CHILD_BYTES = 64 << 20
_FAULTS = """
import resource, sys, threading
import numpy as np
from inference_server.memory import tune_allocator

if sys.argv[1] == "tuned":
    assert tune_allocator()
items = [np.ones((3, 96, 96), dtype=np.float32) for _ in range(32)]

def batches() -> None:
    for _ in range(50):
        batch = np.stack(items)
        doubled = batch * 2
        result = np.maximum(doubled, 0)
        del batch, doubled, result

thread = threading.Thread(target=batches)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_children_count() -> None:
    alone = resident_bytes()
    command = [sys.executable, "-c", f"block = b'x' * {_CHILD_BYTES}; print('there', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        assert resident_bytes() >= alone + _CHILD_BYTES
        child.communicate(b"\n")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other settings")
def test_batches_do_not_fetch_their_memory_from_the_system_each_time() -> None:
    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", _FAULTS, how], check=True, capture_output=True).stdout)

    assert faults("tuned") < faults("default") / 2
