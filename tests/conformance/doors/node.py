"""Stock Node clients, in one process that is asked and answers a line at a time (clients/typescript/conformance)."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from scripts.client_ts import HOME
from scripts.node import Node
from tests.conformance.doors.door import Question
from tests.conformance.outcome import Failure, Outcome

_RUNNER: Final = HOME / "dist/conformance/runner.js"
_STOP_SECONDS: Final = 10.0
NAMES: Final = ("connect-grpc", "connect-web", "grpc-js")


class NodeProcess:
    """The process behind the Node doors. It is asked one thing at a time."""

    def __init__(self, node: Node, edge: str) -> None:
        self._process = subprocess.Popen(
            [node.program, _RUNNER, edge],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            bufsize=1,
        )
        self._asked = 0

    @classmethod
    @contextmanager
    def started(cls, node: Node, edge: str) -> Iterator["NodeProcess"]:
        """Run the process inside the block."""
        process = cls(node, edge)
        try:
            yield process
        finally:
            process.stop()

    def ask(self, door: str, question: Question) -> Outcome:
        """Ask through one of the doors; AssertionError when the runner itself broke."""
        self._asked += 1
        asked = {
            "id": self._asked,
            "door": door,
            "method": question.method.name,
            "request": question.request,
            "token": question.token,
            "cancelAfter": question.cancel_after,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        line = self._process.stdout.readline()
        assert line, f"the Node runner ended with status {self._process.poll()}"
        told = json.loads(line)
        assert told["id"] == self._asked, f"an answer to another question: {told}"
        assert "broken" not in told, told["broken"]
        return _outcome(told)

    def stop(self) -> None:
        """End the process and wait for it."""
        with self._process:  # closes its pipes, which is what it ends at
            try:
                self._process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()


class NodeDoor:
    """One stock client in the process."""

    def __init__(self, name: str, process: NodeProcess) -> None:
        self.name = name
        self._process = process

    def can(self, question: Question) -> bool:
        return not question.query

    def ask(self, question: Question) -> Outcome:
        return self._process.ask(self.name, question)


def _outcome(told: dict[str, Any]) -> Outcome:
    messages = [_with_failure(message) for message in told["messages"]]
    failure = Failure(**told["failure"]) if told["failure"] else None
    # The trace of an error is in the failure; a call that was broken off has none.
    trace = (told["trace"] or "") if failure is None else None
    return Outcome(messages, failure, trace, told["strange"])


def _with_failure(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message with the `error` of a last event as a Failure."""
    error = message.get("error")
    if isinstance(error, dict) and {"code", "reason", "domain"} <= set(error):
        return {**message, "error": Failure(**error)}
    return message
