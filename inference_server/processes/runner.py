"""An instance of a model in a process of its own, as the engine sees it: run a batch, find it dead, start it again."""

import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from inference_server.models.model import Model
from inference_server.models.weights import WeightsError
from inference_server.processes.lane import Arena, Lane, new_memory

_LOG = logging.getLogger(__name__)
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 30.0
# A process that worked for so many seconds before it died starts anew without a delay.
_HEALTHY_AFTER = 30.0
_END_SECONDS = 5.0


class ProcessDied(Exception):
    """The process of an instance ended in the middle of a batch or while it loaded."""


class InProcess:
    """One process with one model. `run` and `revive` belong to the instance's thread; `interrupt` to any.

    The model is pickled before it is loaded, so it must be importable by its class's name and hold nothing that cannot
    be pickled until `load`. In this process it only says of what shape items are and gives its samples.
    """

    watch_seconds = 1.0

    def __init__(self, model: Model[Any, Any]) -> None:
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        self._lane: Lane | None = None
        self._deaths = 0
        self._started = 0.0
        self._interrupted = threading.Event()

    @property
    def alive(self) -> bool:
        return self._lane is not None and self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process's id while it lives."""
        return self._process.pid if self._process is not None and self.alive else None

    def load(self) -> None:
        """Start the process and wait until its model is loaded and warm; raises what the model raised there."""
        try:
            pickle.dumps(self._model, protocol=5)
        except Exception as error:  # pickling raises nearly anything
            raise WeightsError(f"the model {self._model.card.name} cannot move to a process: {error}") from error
        self._start()

    def run(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Run a batch there; raises ProcessDied when the process ended, after starting it again if that works."""
        if not self.alive:
            self.revive()
        lane = self._lane
        if lane is None:
            raise ProcessDied("the process of the instance does not start")
        try:
            lane.send(list(batch))
            kind, value, trace = lane.receive(copy=True)
        except (EOFError, OSError) as error:
            raise self._dead() from error
        if kind == "failed":
            _LOG.error("in the process of %s: %s", self._model.card.identity, trace)
            raise value
        results: Sequence[Any] = value
        return results

    def revive(self) -> None:
        """Start the process again, sooner or later: the delay doubles with every death soon after a start."""
        if self._lane is not None:  # it died while nothing was asked of it
            self._dead()
        if self._deaths > 1:
            delay = min(_FIRST_DELAY * 2.0 ** (self._deaths - 2), _LONGEST_DELAY)
            if self._interrupted.wait(delay):
                return
        try:
            self._start()
        except ProcessDied:
            _LOG.error("the process of %s does not start", self._model.card.identity)
        except Exception as error:  # noqa: BLE001 - what its model raised; tried again as long as the engine asks
            self._deaths += 1
            _LOG.error("the process of %s does not start: %s", self._model.card.identity, error)
        else:
            _LOG.warning("the process of %s was started again", self._model.card.identity)

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        """Close the socket, which ends the process, and reap it; one that does not end is killed."""
        self._interrupted.set()
        if self._lane is not None:
            self._lane.close()
            self._lane = None
        self._reap(_END_SECONDS)
        self._model.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        there, back = new_memory("batches"), new_memory("results")
        descriptors = (theirs.fileno(), back, there)
        command = [sys.executable, "-m", "inference_server.processes.child", *map(str, descriptors)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
        with theirs:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=descriptors, env=environment)
        self._started = time.monotonic()
        lane = Lane(Connection(ours.detach()), Arena(there), Arena(back))
        try:
            lane.send(self._model)
            kind, value, trace = lane.receive(copy=True)
        except (EOFError, OSError) as error:
            lane.close()
            raise self._dead() from error
        if kind == "failed":
            lane.close()
            self._reap(_END_SECONDS)
            _LOG.error("in the process of %s: %s", self._model.card.identity, trace)
            raise value
        self._lane = lane

    def _dead(self) -> ProcessDied:
        """Note a death and return what to tell of it."""
        if self._lane is not None:
            self._lane.close()
            self._lane = None
        self._deaths = 1 if time.monotonic() - self._started > _HEALTHY_AFTER else self._deaths + 1
        status = self._reap(_END_SECONDS)
        died = ProcessDied(f"the process of {self._model.card.identity} ended with status {status}")
        _LOG.error("%s", died)
        return died

    def _reap(self, seconds: float) -> int | None:
        if self._process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        self._process.kill()
        return self._process.wait()
