"""One suite for both clients: the asynchronous one is driven from outside its event loop."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import candela
from tests.unit.client.fake_candela import PASSWORD, World, serve
from tests.unit.client.fake_work import Work


class Driver:
    """Looks like a synchronous object and runs what the asynchronous one behind it returns."""

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self._target, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrap(self._settle(self._target(*args, **kwargs)))

    def __iter__(self) -> Iterator[Any]:
        iterator: AsyncIterator[Any] = aiter(self._target)
        while True:
            try:
                yield self._run(iterator.__anext__())
            except StopAsyncIteration:
                return

    def __enter__(self) -> Any:
        self._run(self._target.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self._run(self._target.__aexit__(*error))

    def in_loop(self, work: Callable[[], Any]) -> Any:
        """Calls something in the event loop."""

        async def called() -> Any:
            return work()

        return self._run(called())

    def _settle(self, value: Any) -> Any:
        return self._run(value) if inspect.isawaitable(value) else value

    def _wrap(self, value: Any) -> Any:
        ours = type(value).__module__.startswith(("candela.api.", "candela.files", "candela.jobs", "candela.users"))
        drivable = ours or callable(value) or hasattr(value, "__aiter__")
        return Driver(value, self._loop) if drivable else value

    def _run(self, awaitable: Any) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(30)


class Pauses:
    """Stands in for sleeping: remembers pauses, and time passes with them."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.time = 100.0

    def clock(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.time += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def endpoint(world: World, work: Work) -> Iterator[str]:
    with ThreadPoolExecutor(32) as pool:
        server, address = serve(world, pool, work.services(world))
        yield address
        server.stop(None).wait(10)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(params=["sync", "async"])
def connect(
    request: pytest.FixtureRequest, world: World, pauses: Pauses, endpoint: str
) -> Iterator[Callable[..., Any]]:
    """Makes clients of either kind; they are closed afterwards."""
    made: list[Any] = []

    def make(**options: Any) -> Any:
        facts: dict[str, Any] = {"endpoint": endpoint, "now": lambda: world.now, "clock": pauses.clock} | options
        if request.param == "sync":
            made.append(candela.Client(sleep=pauses.sleep, **facts))
        else:
            client = candela.AsyncClient(sleep=pauses.async_sleep, **facts)
            made.append(Driver(client, request.getfixturevalue("loop")))
        return made[-1]

    if request.param == "async":
        request.getfixturevalue("loop")
    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    """A client that is logged in."""
    client = connect()
    client.login("ada@example.org", PASSWORD)
    return client
