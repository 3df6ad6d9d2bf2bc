"""A real browser for tests: Chromium without a window, told what to do over a pipe (the DevTools protocol).

Nothing is kept: the profile lies in a folder of the test. What the page asks for and what it complains of is written
down, so that a test can say that nothing was loaded from elsewhere.
"""

import fcntl
import json
import os
import select
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.support.binaries import require_binary
from tests.support.eventually import eventually_sync

Json = dict[str, Any]

_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
    "--remote-debugging-pipe", "--window-size=1300,2000",
)  # fmt: skip
# Chromium reads commands from the first and writes answers to the second.
_COMMANDS, _ANSWERS = 3, 4
_TIMEOUT: Final = 30.0
_DRAWN: Final = "new Promise(done => setTimeout(() => requestAnimationFrame(() => setTimeout(done))))"
_START_TIMEOUT: Final = 60.0


class BrowserError(AssertionError):
    """The browser did not do what it was told; the message says what it said."""


class Browser:
    """One page of a browser. All waiting is bounded."""

    def __init__(self, commands: int, answers: int) -> None:
        """Takes the two ends of the pipes; use `opened`."""
        self._commands, self._answers = commands, answers
        self._buffer = bytearray()
        self._messages: deque[Json] = deque()
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        """What the page's console, its content policy and its scripts complained of."""
        self.requests: list[str] = []
        """The addresses that the page asked for."""

    def attach(self) -> None:
        """Opens an empty page and listens to it."""
        target = self.command("Target.createTarget", {"url": "about:blank"}, timeout=_START_TIMEOUT)["targetId"]
        self._session = self.command("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Goes to an address; returns before the page is complete."""
        self.command("Page.navigate", {"url": url})

    def run(self, script: str) -> Any:
        """Returns what an expression of JavaScript becomes in the page; a promise is waited for."""
        given = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = self.command("Runtime.evaluate", given)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, script: str, what: str, *, timeout: float = _TIMEOUT) -> Any:
        """Returns the first value of an expression that counts as true."""
        value: Any = None

        def true() -> bool:
            nonlocal value
            value = self.run(script)
            return bool(value)

        try:
            eventually_sync(true, timeout=timeout)
        except AssertionError:
            raise BrowserError(f"{what} did not come; the page says {self.complaints}\n{self.text()[:3000]}") from None
        return value

    def click(self, selector: str) -> None:
        """Clicks the first element that a CSS selector finds, once it is there."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{element} !== null", selector)
        self.run(f"{element}.click()")

    def type(self, selector: str, text: str) -> None:
        """Replaces the text of a field as a person does, so that the page's scripts hear of it.

        Again where the page draws the field anew meanwhile, as a person would who sees it empty.
        """
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{element} !== null", selector)

        def stays() -> bool:
            self.run(f"({element}.focus(), {element}.select())")
            self.command("Input.insertText", {"text": text})
            self.run(f"{element}.blur()")  # pages that wait for the end of typing wait no longer
            return bool(self.run(f"{_DRAWN}.then(() => {element}.value === {json.dumps(text)})"))

        eventually_sync(stays, timeout=_TIMEOUT)

    def text(self) -> str:
        """Returns the text of the page as a person sees it."""
        return str(self.run("document.body.innerText"))

    def command(self, method: str, params: Json | None = None, *, timeout: float = _TIMEOUT) -> Json:
        """Returns the answer to one command of the protocol; raises BrowserError."""
        self._number += 1
        message: Json = {"id": self._number, "method": method, "params": params or {}}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                result: Json = answer["result"]
                return result
            self._hear(answer)

    def _next(self, deadline: float, method: str) -> Json:
        while not self._messages:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"{method}: the browser does not answer")
            read = os.read(self._answers, 1 << 16)
            if not read:
                raise BrowserError(f"{method}: the browser has ended")
            self._buffer += read
            *whole, rest = self._buffer.split(b"\0")
            self._buffer = bytearray(rest)
            self._messages.extend(json.loads(one) for one in whole)
        return self._messages.popleft()

    def _hear(self, event: Json) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.complaints.append(str([one.get("value") for one in params["args"]]))


@contextmanager
def opened(folder: Path) -> Iterator[Browser]:
    """Runs Chromium inside the block; without it on this machine the test ends as "not run"."""
    program = str(require_binary("chromium"))
    (command_end, commands), (answers, answer_end) = os.pipe(), os.pipe()
    # Out of the way of the two numbers that Chromium wants.
    child_ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (command_end, answer_end)]
    log = os.open(folder / "chromium.log", os.O_WRONLY | os.O_CREAT, 0o600)
    actions = [
        (os.POSIX_SPAWN_DUP2, child_ends[0], _COMMANDS),
        (os.POSIX_SPAWN_DUP2, child_ends[1], _ANSWERS),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    ]
    environment = {**os.environ, "HOME": str(folder)}
    arguments = [program, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    pid = os.posix_spawn(program, arguments, environment, file_actions=actions, setsid=True)
    for end in (command_end, answer_end, *child_ends, log):
        os.close(end)
    try:
        browser = Browser(commands, answers)
        browser.attach()
        yield browser
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(commands)
        os.close(answers)
