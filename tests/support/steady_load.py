"""Steady load from two kinds of callers, every attempt counted: what was answered, what failed, and for how long.

One caller speaks JSON and repeats a request with the same `requestId` when it is told 503 or its connection breaks; the
other is the Python client, which does that by itself. Both give up after five attempts, with pauses that double from
0.1 s. A call has *failed* when its last attempt did. All calls are idempotent: reads, and writes with a request id.
"""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx

from candela import Client
from candela.errors import CandelaError
from tests.support.edge import PASSWORD, Edge, new_email
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page

ATTEMPTS = 5
_FIRST_PAUSE = 0.1
_PACE = 0.02  # between the calls of one caller: the mesh is busy and not drowned
_WORD = "Kept"
_MORE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Miss:
    """An attempt that was not answered well."""

    what: str
    when: float
    """Monotonic seconds at which it ended."""
    why: str


@dataclass
class Tally:
    """What all callers together saw."""

    answered: Counter[str] = field(default_factory=Counter)
    missed: list[Miss] = field(default_factory=list)
    failed: list[Miss] = field(default_factory=list)
    registered: list[str] = field(default_factory=list)
    recognised: list[str] = field(default_factory=list)

    def burst(self) -> float:
        """Return the seconds from the first missed attempt to the last one."""
        times = [miss.when for miss in self.missed]
        return max(times) - min(times) if times else 0.0

    def wait_for_more(self, calls: int = 2) -> None:
        """Wait until every kind of call was answered some more times."""
        enough = {what: count + calls for what, count in self.answered.items()}

        def have_more() -> bool:
            return all(self.answered[what] >= least for what, least in enough.items())

        eventually_sync(have_more, timeout=_MORE_SECONDS)

    def account(self) -> str:
        """Return what happened, for the message of a failure."""
        kinds = Counter(f"{miss.what}: {miss.why}" for miss in self.missed)
        return f"answered {dict(self.answered)}; missed for {self.burst():.3f} s {dict(kinds)}; failed {self.failed}"


@contextmanager
def steady_load(mesh: Mesh) -> Iterator[Tally]:
    """Have both callers at work while the block runs, until each has had some answers of each kind at its end."""
    tally, stop, broken = Tally(), threading.Event(), list[BaseException]()
    with ExitStack() as callers:
        works = [*_json_works(mesh, callers, tally), *_python_works(mesh, callers, tally)]
        tally.answered.update(dict.fromkeys((what for what, _ in works), 0))
        crew = [threading.Thread(target=_again, args=(work, stop, broken), name=what) for what, work in works]
        for thread in crew:
            thread.start()
        try:
            tally.wait_for_more()
            yield tally
            tally.wait_for_more()
        finally:
            stop.set()
            for thread in crew:
                thread.join()
    if broken:
        raise broken[0]


def _again(work: Callable[[], None], stop: threading.Event, broken: list[BaseException]) -> None:
    try:
        while not stop.wait(_PACE):
            work()
    except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
        broken.append(error)


def _json_works(mesh: Mesh, callers: ExitStack, tally: Tally) -> list[tuple[str, Callable[[], None]]]:
    page = png(print_page([_WORD]))
    reads, writes, documents = (callers.enter_context(Edge(mesh.edge)) for _ in range(3))
    reads.sign_up()
    documents.token = reads.token

    def read() -> None:
        _send("json read", tally, lambda: reads.call("GET", "/v1/users/me"))
        _send("json read", tally, lambda: reads.call("GET", "/v1/recognitions"))

    def register() -> None:
        email, request_id = new_email(), str(uuid.uuid4())
        if _send("json register", tally, lambda: writes.register(email, request_id)):
            tally.registered.append(email)

    def recognise() -> None:
        request_id = str(uuid.uuid4())
        if answer := _send("json recognise", tally, lambda: documents.recognize(page, requestId=request_id)):
            tally.recognised.append(answer.json()["name"])

    return [("json read", read), ("json register", register), ("json recognise", recognise)]


def _send(what: str, tally: Tally, send: Callable[[], httpx.Response]) -> httpx.Response | None:
    """Send a request until it is answered; None, and counted as failed, after the last attempt."""
    for attempt in range(ATTEMPTS):
        again = True
        try:
            response = send()
        except httpx.TransportError as error:
            why = repr(error)
        else:
            if response.status_code == httpx.codes.OK:
                tally.answered[what] += 1
                return response
            why = f"{response.status_code} {response.text[:200]}"
            again = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
        tally.missed.append(Miss(what, time.monotonic(), why))
        if not again or attempt == ATTEMPTS - 1:
            tally.failed.append(tally.missed[-1])
            break
        time.sleep(_FIRST_PAUSE * 2**attempt)
    return None


def _python_works(mesh: Mesh, callers: ExitStack, tally: Tally) -> list[tuple[str, Callable[[], None]]]:
    client, email, page = callers.enter_context(Client(mesh.target)), new_email(), png(print_page([_WORD]))
    client.register(email=email, password=PASSWORD)
    client.login(email, PASSWORD)

    def attempt(what: str, call: Callable[[], object]) -> bool:
        try:
            call()
        except CandelaError as error:
            tally.failed.append(Miss(what, time.monotonic(), repr(error)))
            return False
        tally.answered[what] += 1
        return True

    def read() -> None:
        attempt("python read", client.users.get)

    def register() -> None:
        somebody = new_email()
        if attempt("python register", lambda: client.register(email=somebody, password=PASSWORD)):
            tally.registered.append(somebody)

    def recognise() -> None:
        attempt("python recognise", lambda: client.documents.recognize(page))

    return [("python read", read), ("python register", register), ("python recognise", recognise)]
