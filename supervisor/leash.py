"""Starts one program so that it dies with the supervisor: `python -I -S leash.py SUPERVISOR_PID PROGRAM ARGUMENT…`.

It asks the kernel to kill the process when the one that started it ends, however it ends, and then becomes the
program. A small program of its own and not a preexec_fn: between fork and exec of a process with threads (gRPC has
several) no Python code runs safely. Standard library only, ~20 ms.

The supervisor must start it from its main thread: the kernel watches the thread, not the process.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Become the program; return a non-zero status only when that fails."""
    supervisor, program = int(arguments[0]), arguments[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        print(f"prctl failed: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        return 1
    # The supervisor may have died before the request reached the kernel.
    if os.getppid() != supervisor:
        return 1
    try:
        os.execvp(program[0], program)  # noqa: S606 — becoming the program is the point
    except OSError as error:
        print(f"cannot start {program[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
