"""`python -m supervisor restart`: asks the supervisor that runs for a rolling restart and tells how it goes."""

import os
import sys
import time
from typing import TextIO

from supervisor.datadir import DataDir
from supervisor.rolling import UNABLE, RollState, RollStatus
from supervisor.status import ROLL_SIGNAL, MeshState, MeshStatus, read_status

_INTERVAL = 0.1
_ANSWER_SECONDS = 5.0


class RestartFailedError(Exception):
    """The restart did not happen, or was given up; the message says why."""


def restart(data: DataDir, out: TextIO = sys.stdout) -> int:
    """Restart the processes of the mesh on `data`; return 0 when all were, otherwise 1."""
    begun = time.monotonic()
    try:
        number = _ask(data)
        count = _follow(data, number, out)
    except RestartFailedError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"restarted {count} processes in {time.monotonic() - begun:.1f} s", file=out)
    return 0


def _ask(data: DataDir) -> int:
    """Send the signal; return the number that the restart will have."""
    status = _running(data)
    if status.state != MeshState.READY.value:
        raise RestartFailedError(f"the mesh is {status.state}: wait until it is ready")
    if status.roll.number == UNABLE:  # it would take the signal for its end
        raise RestartFailedError("the supervisor that runs is of an older version: stop the mesh and start it")
    if status.roll.state == RollState.RUNNING.value:
        raise RestartFailedError(f"a restart is under way, at {status.roll.process}")
    os.kill(status.pid, ROLL_SIGNAL)
    return status.roll.number + 1


def _follow(data: DataDir, number: int, out: TextIO) -> int:
    """Print each process's turn; return how many there were."""
    asked, seen = time.monotonic(), ""
    count = 0
    while True:
        roll = _running(data).roll
        if roll.number < number:
            if time.monotonic() - asked > _ANSWER_SECONDS:
                raise RestartFailedError("the supervisor does not begin with the restart")
        elif roll.state == RollState.RUNNING.value and roll.process != seen:
            seen, count = roll.process, count + 1
            print(f"  {seen}", file=out, flush=True)
        elif roll.state != RollState.RUNNING.value:
            return _ended(roll, count)
        time.sleep(_INTERVAL)


def _ended(roll: RollStatus, count: int) -> int:
    if roll.state == RollState.FAILED.value:
        raise RestartFailedError(
            f"given up at {roll.process}: {roll.failure}. What was not restarted runs on as it was"
        )
    return count


def _running(data: DataDir) -> MeshStatus:
    status = read_status(data)
    if status is None:
        raise RestartFailedError(f"no mesh runs on {data.root}")
    return status
