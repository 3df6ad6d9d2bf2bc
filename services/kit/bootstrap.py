"""How a server process starts, runs and stops. A service's main is its composition root and this call:

    @asynccontextmanager
    async def compose(mesh: Mesh[RecognitionSettings]) -> AsyncIterator[list[Binding]]:
        database = Database(mesh.settings.database_url)
        async with mesh.channel("inference") as inference:
            ocr = InferenceOcr(OcrServiceStub(inference))
            usecases = Recognitions(SqlUnits(database), ocr, mesh.clock)
            yield [Binding(add_RecognitionServiceServicer_to_server, RecognitionApi(usecases))]
        await database.close()

    if __name__ == "__main__":
        run(RecognitionSettings, compose)

`compose` opens what the service needs and yields its bindings; what follows the yield runs after the drain. The order
at the end: NOT_SERVING, no new calls, calls in flight finish, `compose` closes, telemetry is flushed, exit status 0.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import grpc
import uvloop
from pydantic import ValidationError
from redis.asyncio import Redis

from observability import names
from observability.logs import start_logging
from observability.metrics import gauge
from observability.status_page import LOOPBACK, PageTls, StatusPage
from observability.telemetry import Telemetry, make_global, start_telemetry
from services.kit.api_keys import CachedApiKeys
from services.kit.call import current_call
from services.kit.channel import open_channel
from services.kit.clock import Clock, SystemClock
from services.kit.errors import CandelaError
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import Exchange, open_exchange
from services.kit.exchange.contract import Contract
from services.kit.exchange.door import Door
from services.kit.exchange.options import ClientOptions, DoorOptions
from services.kit.identity import ServiceIdentity
from services.kit.key_files import KeySetFile
from services.kit.key_limits import MinuteLimits
from services.kit.key_reports import KeyReports
from services.kit.key_service import KeyServiceSource
from services.kit.keys import MESH_KEY_SET, USER_KEY_SET
from services.kit.pipeline.authentication import ApiKeys, Authenticator
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.deadline import Limits
from services.kit.pipeline.methods import Methods
from services.kit.redis import redis_client
from services.kit.revocation import Revocations
from services.kit.server import Binding, Running, StartError, foreign_rules, serving, unlogged
from services.kit.settings import PREFIX, ServerSettings
from services.kit.tls import channel_credentials
from services.kit.tokens import TokenVerifier

__all__ = ["Binding", "Mesh", "Running", "StartError", "run", "running"]

_LOG = logging.getLogger(__name__)
S = TypeVar("S", bound=ServerSettings)


@dataclass
class Mesh(Generic[S]):
    """What the kit gives a service to build itself with.

    `draining` is set when the process begins to stop: endless streams should end then. `redis` is one client of the
    mesh's Redis for everything that is not told otherwise.
    """

    settings: S
    identity: ServiceIdentity
    telemetry: Telemetry
    redis: "Redis"
    revocations: Revocations
    clock: Clock = field(default_factory=SystemClock)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    api_keys: ApiKeys | None = None  # set in compose by the user service, which knows the keys; others ask it

    def channel(self, callee: str) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        """Open a channel to another service by its name; see channel.py."""
        credentials = channel_credentials(self.settings)
        return open_channel(callee, self.settings.endpoints(callee), self.identity, self.telemetry.tracer, credentials)

    def exchange(self, callee: str, contract: Contract) -> AbstractAsyncContextManager[Exchange]:
        """Open a coalescing stream to every replica of another service; see exchange/client.py."""
        return open_exchange(
            callee,
            contract,
            Addresses(self.settings.endpoints(callee)),
            self.identity,
            self.telemetry.tracer,
            options=ClientOptions.of(self.settings),
            credentials=channel_credentials(self.settings),
        )

    def door(self, contract: Contract, handlers: Mapping[str, Any]) -> Door:
        """Return the servicer of a coalescing stream; see exchange/door.py."""
        return Door(contract, handlers, DoorOptions.of(self.settings), self.draining)


Compose = Callable[[Mesh[S]], AbstractAsyncContextManager[Sequence[Binding]]]


@asynccontextmanager
async def running(
    settings: S, compose: Compose[S], telemetry: Telemetry, cut_short: asyncio.Event | None = None
) -> AsyncIterator[Running]:
    """Run a whole service inside the block, as its process does; raises StartError when it cannot start."""
    async with AsyncExitStack() as stack:
        serves = threading.Event()
        stack.enter_context(_status_page(settings, serves.is_set))
        redis = redis_client(settings.redis)
        stack.push_async_callback(redis.aclose)
        revocations = Revocations(
            redis, poll_seconds=settings.revocation_poll_seconds, stale_seconds=settings.revocation_stale_seconds
        )
        await stack.enter_async_context(revocations.following())
        gauge(names.REVOCATIONS_AGE).set_function(revocations.age_seconds)
        mesh = Mesh(settings, _identity(settings), telemetry, redis, revocations)
        bindings = await stack.enter_async_context(compose(mesh))
        if mesh.api_keys is None:
            mesh.api_keys = await stack.enter_async_context(_api_keys(mesh))
        pipeline = _pipeline(mesh, bindings)
        server = await stack.enter_async_context(serving(settings, bindings, pipeline, mesh.draining, cut_short))
        serves.set()
        stack.callback(serves.clear)
        yield server


@asynccontextmanager
async def _api_keys(mesh: Mesh[Any]) -> AsyncIterator[ApiKeys]:
    """Let the user service say what API keys stand for; nothing is connected before the first key comes."""
    async with mesh.channel("user") as users:
        source = KeyServiceSource(users)
        reports = KeyReports(source, mesh.clock)
        async with reports.sending():
            limits = MinuteLimits(mesh.redis, mesh.clock)
            yield CachedApiKeys(source, mesh.revocations, limits, reports, mesh.clock)


def _identity(settings: ServerSettings) -> ServiceIdentity:
    try:
        return ServiceIdentity.load(settings.service_name, settings.keys)
    except (OSError, ValueError) as exc:
        raise StartError(f"{settings.service_name} cannot read the mesh key in {settings.keys}: {exc}") from exc


def _status_page(settings: ServerSettings, healthy: Callable[[], bool]) -> StatusPage | nullcontext[None]:
    if not settings.metrics:
        return nullcontext()
    host, tls = settings.metrics_host or LOOPBACK, None
    if settings.metrics_host and settings.tls_cert and settings.tls_key:
        tls = PageTls(settings.tls_cert, settings.tls_key, settings.tls_ca)
    try:
        return StatusPage(settings.metrics, healthy, host=host, tls=tls)
    except OSError as exc:
        where = f"{host}:{settings.metrics}"
        raise StartError(f"{settings.service_name} cannot show metrics on {where}: {exc.strerror}") from exc


def _pipeline(mesh: Mesh[Any], bindings: Sequence[Binding]) -> Pipeline:
    settings = mesh.settings
    users, services = KeySetFile(settings.keys / USER_KEY_SET), KeySetFile(settings.keys / MESH_KEY_SET)
    tokens = TokenVerifier(settings.service_name, users, services, mesh.clock)
    return Pipeline(
        tracer=mesh.telemetry.tracer,
        authenticator=Authenticator(tokens, mesh.revocations, mesh.api_keys),
        methods=Methods(foreign_rules(bindings), unlogged(bindings)),
        limits=Limits(settings.unary_limit_seconds, settings.stream_limit_seconds),
        clock=mesh.clock,
        access_log=settings.access_log,
    )


def run(settings_type: type[S], compose: Compose[S]) -> None:
    """Be the service's process until SIGTERM or SIGINT, then exit: 0 after a drain, 1 when it cannot start, 2 when its
    settings are wrong. A second signal ends the drain at once.
    """
    settings = _read(settings_type)
    start_logging(settings.log_level, facts=call_facts)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    telemetry = start_telemetry(settings.service_name, endpoint=settings.otlp, ratio=settings.trace_sampling_ratio)
    make_global(telemetry)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_stopped(settings, compose, telemetry))
    except StartError as exc:
        _LOG.critical("%s", exc)
        sys.exit(1)
    finally:
        telemetry.close()


def _read(settings_type: type[S]) -> S:
    try:
        return settings_type()
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            name = "".join(f"{PREFIX}{part}".upper() + ": " for part in error["loc"][:1])
            sys.stderr.write(f"{settings_type.service_name}: {name}{error['msg'].removeprefix('Value error, ')}\n")
        sys.exit(2)


async def _until_stopped(settings: S, compose: Compose[S], telemetry: Telemetry) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    stop, cut_short = asyncio.Event(), asyncio.Event()

    def stopping() -> None:
        (cut_short if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping)
    started = time.perf_counter()
    async with running(settings, compose, telemetry, cut_short):
        seconds = round(time.perf_counter() - started, 2)
        _LOG.info("%s is ready", settings.service_name, extra={"start_seconds": seconds, "pid": os.getpid()})
        _collect_from_here_on()
        await stop.wait()
        _LOG.info("%s drains", settings.service_name)
    _LOG.info("%s stopped", settings.service_name)


def _collect_from_here_on() -> None:
    """Let the garbage collector pass over all that the start made, which lives as long as the process.

    It is some 120,000 objects of modules and classes: every full collection would stop the loop for 90 ms to walk them
    and free nothing. A main may switch collection off before it imports: that makes a start 0.2 s shorter.
    """
    gc.freeze()
    gc.enable()


def call_facts() -> Mapping[str, str]:
    """Return what a log line tells of the call being handled, nothing outside of one."""
    try:
        call = current_call()
    except CandelaError:  # a line that belongs to no call
        return {}
    return {"user_id": call.principal.user if call.principal else "", "request_id": call.request_id}


def _log_uncaught(kind: type[BaseException], exc: BaseException | None, trace: Any) -> None:
    _LOG.critical("uncaught %s", kind.__name__, exc_info=(kind, exc or kind(), trace))


def _log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    exc = context.get("exception")
    _LOG.error("in the event loop: %s", context.get("message", ""), exc_info=exc)
