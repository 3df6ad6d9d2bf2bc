"""Two replicas of a service on one database: real processes, each with connections and queues of its own."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from tests.unit.kit_state.accounts import Bank

_ROOT = Path(__file__).parents[3]
_TIMES = 120
# A writer that waits this long is told that the database does not answer.
_BUSY_SECONDS = 10.0


async def start_writer(url: str) -> Process:
    command = (sys.executable, "-m", "tests.unit.kit_state.writer_process", url, str(_TIMES))
    process = await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def test_two_processes_that_write_without_pause_lose_nothing_and_starve_nobody(
    bank: Bank, database_url: str
) -> None:
    writers = [await start_writer(database_url) for _ in range(2)]
    answers = await asyncio.gather(*(writer.communicate(b"go\n") for writer in writers))
    assert [writer.returncode for writer in writers] == [0, 0]
    assert await bank.balance() == 2 * _TIMES
    assert max(float(out) for out, _ in answers) < _BUSY_SECONDS
