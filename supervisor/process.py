"""One operating system process of the mesh: started on a leash, its output read, ended with everything it started."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from supervisor.logs import ProcessLog

_LEASH = Path(__file__).with_name("leash.py")
_CHUNK = 64 * 1024
_LAST_OUTPUT_SECONDS = 1.0


class Child:
    """A running process. Its process group is its own, so that Ctrl-C in the terminal reaches the supervisor only."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        pipe: asyncio.ReadTransport,
        output: asyncio.StreamReader,
        log: ProcessLog,
    ) -> None:
        self._process = process
        self._pipe = pipe
        self._pump = asyncio.create_task(_pump(output, log), name=f"log of {process.pid}")

    @classmethod
    async def spawn(cls, argv: tuple[str, ...], env: Mapping[str, str], cwd: Path, log: ProcessLog) -> Self:
        """Start a program. Must be awaited in the main thread: the leash is tied to the thread that starts it.

        A program that does not exist shows as exit status 127 with a line in the log. Raises OSError when the
        machine has no process or descriptor left.
        """
        # A pipe of our own and not asyncio's: with that, a process only counts as ended once nobody holds its output,
        # and what it started itself may hold it for ever.
        ours, theirs = os.pipe()
        output = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(ours, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *argv,
                stdin=asyncio.subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                env=env, cwd=cwd, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            pipe.close()
            raise
        finally:
            os.close(theirs)
        return cls(process, pipe, output, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end, clear up what the process started itself, and return its exit status.

        Like in `subprocess`, a negative status is the number of the signal that ended it.
        """
        status = await self._process.wait()
        self._signal_group(signal.SIGKILL)
        # Bounded: a grandchild that left the group may still hold the pipe.
        await asyncio.wait({self._pump}, timeout=_LAST_OUTPUT_SECONDS)
        self._pump.cancel()
        self._pipe.close()
        return status

    def terminate(self) -> None:
        """Ask the process to finish."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process and everything in its group now."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def _pump(output: asyncio.StreamReader, log: ProcessLog) -> None:
    """Hand the output of a process to its log until nobody can write to it any more."""
    while chunk := await output.read(_CHUNK):
        log.feed(chunk)
    log.end()


def describe_exit(status: int) -> str:
    """Return an exit status in words: `exited with status 3`, `killed by SIGKILL`."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
