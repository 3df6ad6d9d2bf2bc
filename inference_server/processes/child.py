"""The process of one instance: `python -m inference_server.processes.child SOCKET OUTGOING INCOMING`.

Gets its model as a pickle that is not loaded yet, loads it, and then answers batches until the socket closes.
"""

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from inference_server.processes.lane import Arena, Lane

_LOOK_EVERY = 1.0  # seconds


def main(socket: int, outgoing: int, incoming: int) -> None:
    """Serve one parent until it closes the socket or dies."""
    # A Ctrl-C and a SIGTERM to the group are for the parent, which lets batches finish and then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    lane = Lane(Connection(socket), Arena(outgoing), Arena(incoming))
    with suppress(EOFError, OSError):  # the parent closed the socket or is gone
        model = _loaded(lane)
        if model is not None:
            try:
                while True:
                    lane.send(_answer(model, lane.receive(copy=False)))
            finally:
                model.close()


def _loaded(lane: Lane) -> Any:
    """Take the model, load and warm it up, and say so; None when that failed, with what was raised sent back."""
    try:
        model = lane.receive(copy=True)
        model.load()
        model.warm_up()
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        lane.send(("failed", _portable(error), traceback.format_exc()))
        return None
    lane.send(("ready", os.getpid(), ""))
    return model


def _answer(model: Any, batch: list[Any]) -> tuple[str, Any, str]:
    try:
        return "done", list(model.run(batch)), ""
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        return "failed", _portable(error), traceback.format_exc()


def _portable(error: Exception) -> Exception:
    """Return an error that the parent can surely unpickle: that of libraries it never imported becomes its text."""
    known = type(error).__module__ == "builtins" or type(error).__module__.startswith(
        ("services.", "inference_server.")
    )
    return error if known else RuntimeError(f"{type(error).__name__}: {error}")


def _die_with(parent: int) -> None:
    """End when the parent is gone while a batch runs, which nobody would get."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os._exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
