"""One gRPC server: its services, its health, its port, and how it stops."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_channelz.v1 import _async as channelz_async
from grpc_channelz.v1 import channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.kit.access import Access
from services.kit.grpc_options import server_options
from services.kit.health import Health
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.interceptor import PipelineInterceptor
from services.kit.settings import ServerSettings
from services.kit.tls import server_credentials

_LOG = logging.getLogger(__name__)
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_GRACE_SECONDS = 5.0  # beyond what calls were promised; then the server's own end is not waited for


class StartError(Exception):
    """The process cannot start; the message is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A servicer and the generated function that registers it (`add_XServicer_to_server`).

    `access` is the rule for every method of a contract of others, which cannot carry our option. Without `logged` calls
    have a line in the access log only when they fail or are slow.
    """

    add: Callable[[Any, Any], None]
    servicer: object
    access: Access | None = None
    logged: bool = True


class _Recorder:
    """Stands in for a server to learn which methods a binding registers."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, handlers: Sequence[object]) -> None:
        """Is called by generated code too; add_registered_method_handlers has the same methods by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        self.handlers |= {f"/{service}/{method}": handler for method, handler in handlers.items()}


class _ByName:
    """Stands between generated code and a server, so that methods are found by name and none is registered.

    For every registered method grpc.aio keeps a call pending, and it waits for all of them anew at every call that
    comes (`asyncio.wait` over as many futures): with 40 methods that costs about 100 µs a call. Generated code adds its
    methods in both ways, and the interceptor keeps the handlers anyway.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._server.add_generic_rpc_handlers(tuple(handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, object]) -> None:
        """Does nothing, see above."""


def handlers_of(binding: Binding) -> dict[str, Any]:
    """Return a binding's handlers by their paths `/package.Service/Method`."""
    recorder = _Recorder()
    binding.add(binding.servicer, recorder)
    return recorder.handlers


def foreign_rules(bindings: Iterable[Binding]) -> dict[str, Access]:
    """Return the rules that bindings state for contracts of others, by service."""
    return {path.split("/")[1]: b.access for b in bindings if b.access is not None for path in handlers_of(b)}


def unlogged(bindings: Iterable[Binding]) -> set[str]:
    """Return the services of bindings whose calls are not all logged."""
    return {path.split("/")[1] for b in bindings if not b.logged for path in handlers_of(b)}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers: its address as callers dial it, and its port (0 on a Unix socket)."""

    address: str
    port: int
    health: Health


@asynccontextmanager
async def serving(
    settings: ServerSettings,
    bindings: Sequence[Binding],
    pipeline: Pipeline,
    draining: asyncio.Event,
    cut_short: asyncio.Event | None = None,
) -> AsyncIterator[Running]:
    """Serve inside the block, then drain: NOT_SERVING, after `drain_notice_seconds` no new calls, calls in flight
    finish within `drain_seconds`.

    `draining` is set when new calls end, so that endless streams can end; `cut_short` ends both waits. Raises
    StartError when a method has no access rule or is not asynchronous, and when the port is taken.
    """
    interceptor = PipelineInterceptor(pipeline)
    services = _checked_services(bindings, pipeline, interceptor)
    server = grpc.aio.server(interceptors=[interceptor], options=server_options(settings))
    health = Health(draining)
    for binding in bindings:
        binding.add(binding.servicer, _ByName(server))
    _add_infrastructure(server, settings, health, services)
    port = _listen(server, settings)
    for name in ("", *services):
        await health.set(name, _NOT_SERVING)
    await server.start()
    for name in ("", *services):
        await health.set(name, _SERVING)
    address = settings.address if port == 0 else f"{settings.address.rpartition(':')[0]}:{port}"
    _LOG.info("%s listens on %s", settings.service_name, address, extra={"services": services})
    try:
        yield Running(address, port, health)
    finally:
        await health.enter_graceful_shutdown()
        await _notice(settings.drain_notice_seconds, cut_short)
        draining.set()
        await _drain(server, settings.drain_seconds, cut_short)


async def _notice(seconds: float, cut_short: asyncio.Event | None) -> None:
    """Go on as before for a moment, while callers learn that others should be asked."""
    if seconds:
        with suppress(TimeoutError):
            await asyncio.wait_for((cut_short or asyncio.Event()).wait(), seconds)


async def _drain(server: grpc.aio.Server, seconds: float, cut_short: asyncio.Event | None) -> None:
    stopping = asyncio.ensure_future(server.stop(seconds))
    impatience = asyncio.ensure_future((cut_short or asyncio.Event()).wait())
    await asyncio.wait({stopping, impatience}, timeout=seconds + _GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    impatience.cancel()
    if not stopping.done():
        # Not awaited for good: a connection that never closes must not keep a process that has nothing left to do.
        ended, _ = await asyncio.wait({stopping, asyncio.ensure_future(server.stop(None))}, timeout=_GRACE_SECONDS)
        if stopping not in ended:
            _LOG.error("gRPC's server does not stop; the process ends without it")
            return
    await stopping
    await asyncio.sleep(0)  # the last calls report themselves in the loop's next turn


def _checked_services(bindings: Sequence[Binding], pipeline: Pipeline, interceptor: PipelineInterceptor) -> list[str]:
    handlers = {path: handler for binding in bindings for path, handler in handlers_of(binding).items()}
    closed = [path[1:] for path in handlers if pipeline.methods.get(path).access is None]
    if closed:
        raise StartError(f"no valid access option in the contract of {', '.join(closed)}")
    try:
        for path, handler in handlers.items():
            interceptor.wrap(path, handler)
    except TypeError as exc:
        raise StartError(str(exc)) from exc
    return list(dict.fromkeys(path.split("/")[1] for path in handlers))


def _add_infrastructure(server: grpc.aio.Server, settings: ServerSettings, health: Health, services: list[str]) -> None:
    health_pb2_grpc.add_HealthServicer_to_server(health, _ByName(server))
    if settings.channelz:
        channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz_async.ChannelzServicer(), server)
    if settings.reflection:
        offered = [*services, "grpc.health.v1.Health", reflection.SERVICE_NAME]
        reflection.enable_server_reflection(offered, server)


def _listen(server: grpc.aio.Server, settings: ServerSettings) -> int:
    """Open the port and return it, 0 on a Unix socket; StartError with one clear line when it cannot be had."""
    address = settings.address
    try:
        _check_free(address)
        credentials = server_credentials(settings)
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except (OSError, RuntimeError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise StartError(f"{settings.service_name or 'the server'} cannot listen on {address}: {reason}") from exc
    return 0 if address.startswith("unix") else port


def _check_free(address: str) -> None:
    """Raise OSError when a TCP port is taken: the operating system says why, gRPC only that it failed."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix") or not port.isdigit() or port == "0":
        return
    family, kind, protocol, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
