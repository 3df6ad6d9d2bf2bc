"""The load generator, a process of its own: `python -m tests.bench.inference.generator ORDER.json ANSWER.json`.

Closed load keeps so many requests under way; open load sends each when it is due (poisson.py), whatever became of those
before, and counts every latency from that moment.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop

from kserve import grpc_service_pb2
from tests.bench.inference.accounts import Fate, Outcome
from tests.bench.inference.callers import Caller, ExchangeCaller, GrpcCaller, HttpCaller, exchange_to
from tests.bench.inference.poisson import Phase, schedule
from tests.bench.inference.works import executed

_DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Flow:
    """One stream of requests: to what, how many at a time or when, and how urgent."""

    message: str
    """The request in hexadecimal: a ModelInferRequest for gRPC and Exchange, the body for HTTP."""
    in_flight: int = 0
    phases: Sequence[Sequence[float]] = ()
    seed: int = 0
    priority: int = 2
    tenant: str = ""
    cancel_after: float = 0.0
    """Seconds after which the caller of a closed flow gives up; 0 for never."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: over which protocol, to which server, for how long."""

    protocol: str
    address: str
    flows: Sequence[Flow]
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: str = ""
    deadline: float = 0.0
    seconds: float = 0.0
    warm_up: float = 0.0
    counts: str = ""
    sample_at: Sequence[float] = ()
    """When to note how many items the server has executed, in seconds from the start of open load."""

    def to_json(self) -> str:
        """Return the order as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Order":
        """Return the order that `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        return cls(**{**raw, "flows": [Flow(**flow) for flow in raw["flows"]]})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an order: the fate of every request of each flow, the counts asked for, and the client's CPU."""

    flows: Sequence[Sequence[Fate]]
    seconds: float
    cpu: float
    samples: Sequence[int] = ()
    answered: Sequence[int] = ()
    """How many calls of each flow of closed load were answered well, before and after what counts too."""

    def to_json(self) -> str:
        """Return the answer as JSON text."""
        rows = [[[fate.due, fate.taken, fate.outcome] for fate in fates] for fates in self.flows]
        whole = {"flows": rows, "seconds": self.seconds, "cpu": self.cpu, "samples": list(self.samples)}
        return json.dumps({**whole, "answered": list(self.answered)})

    @classmethod
    def from_json(cls, text: str) -> "Answer":
        """Return the answer that `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        return cls(**{**raw, "flows": [[Fate(*fate) for fate in fates] for fates in raw["flows"]]})


async def _caller(order: Order, flow: Flow, stack: AsyncExitStack, shared: dict[str, Any]) -> Caller:
    message = bytes.fromhex(flow.message)
    if order.protocol == "http":
        caller = HttpCaller(order.address, order.path, message, order.headers)
        stack.push_async_callback(caller.close)
        return caller
    if order.protocol == "grpc":
        if "channel" not in shared:
            shared["channel"] = await stack.enter_async_context(grpc.aio.insecure_channel(order.address))
        return GrpcCaller(shared["channel"], order.path, message, order.headers)
    if "exchange" not in shared:
        shared["exchange"] = await stack.enter_async_context(exchange_to(order.address, Path(order.keys)))
    return ExchangeCaller(shared["exchange"], grpc_service_pb2.ModelInferRequest.FromString(message))


async def _closed(order: Order, callers: Sequence[Caller]) -> Answer:
    """Keep every flow's requests under way; those that end after the warm-up count."""
    clock = time.monotonic  # the loop's own is as old as its turn, and whole milliseconds with uvloop
    begin = clock() + order.warm_up
    end = begin + order.seconds
    fates: list[list[Fate]] = [[] for _ in order.flows]
    answered = [1] * len(order.flows)  # the call that connected

    async def again(number: int) -> None:
        flow, caller, mine = order.flows[number], callers[number], fates[number]
        while (sent := clock()) < end:
            outcome = await patiently(caller, order.deadline, flow)
            answered[number] += outcome == "ok"
            now = clock()
            if begin <= now < end:
                mine.append(Fate(sent - begin, now - sent, outcome))

    cpu = time.process_time()
    tasks = [again(number) for number, flow in enumerate(order.flows) for _ in range(flow.in_flight)]
    await asyncio.gather(*tasks)
    return Answer(fates, order.seconds, time.process_time() - cpu, answered=answered)


async def patiently(caller: Caller, deadline: float, flow: Flow) -> Outcome:
    """Make a call for as long as the flow's callers are patient."""
    try:
        async with asyncio.timeout(flow.cancel_after or None):
            return await caller(deadline, flow.priority, flow.tenant)
    except TimeoutError:
        return "withdrawn"


async def _open(order: Order, callers: Sequence[Caller]) -> Answer:
    """Send each request when it is due. A thread keeps the time: timers of the loop are good to a millisecond only."""
    loop = asyncio.get_running_loop()
    due = sorted(
        (when, number)
        for number, flow in enumerate(order.flows)
        for when in schedule([Phase(*phase) for phase in flow.phases], flow.seed)
    )
    fates: list[list[Fate]] = [[] for _ in order.flows]
    samples: list[int] = []
    tasks: set[asyncio.Task[None]] = set()
    start = time.monotonic() + 0.2

    async def once(when: float, number: int) -> None:
        flow = order.flows[number]
        outcome = await callers[number](order.deadline, flow.priority, flow.tenant)
        fates[number].append(Fate(when, time.monotonic() - start - when, outcome))

    def send(when: float, number: int) -> None:
        if number < 0:
            samples.append(executed(Path(order.counts)))
            return
        task = loop.create_task(once(when, number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    events = sorted([*due, *((moment, -1) for moment in order.sample_at)])
    cpu = time.process_time()
    keeper = threading.Thread(target=_keep_time, args=(loop, start, events, send))
    keeper.start()
    await asyncio.to_thread(keeper.join)
    while tasks:
        await asyncio.wait(list(tasks))
    await asyncio.sleep(_DRAIN_SECONDS)  # what the server still works on in vain is to be counted
    samples.append(executed(Path(order.counts)) if order.counts else 0)
    return Answer(fates, time.monotonic() - start, time.process_time() - cpu, samples)


def _keep_time(
    loop: asyncio.AbstractEventLoop,
    start: float,
    events: Sequence[tuple[float, int]],
    send: Callable[[float, int], None],
) -> None:
    """Let the loop do each event when it is due; `start` is in seconds of the monotonic clock."""
    for when, number in events:
        if (wait := start + when - time.monotonic()) > 0:
            time.sleep(wait)
        loop.call_soon_threadsafe(send, when, number)


async def _work(order: Order) -> Answer:
    async with AsyncExitStack() as stack:
        shared: dict[str, Any] = {}
        callers = [await _caller(order, flow, stack, shared) for flow in order.flows]
        for caller in callers:  # connections are made before the first request counts
            await caller(10.0)
        return await (_open(order, callers) if order.flows[0].phases else _closed(order, callers))


if __name__ == "__main__":
    given, written = Path(sys.argv[1]), Path(sys.argv[2])
    written.write_text(uvloop.run(_work(Order.from_json(given.read_text("utf-8")))).to_json(), "utf-8")
