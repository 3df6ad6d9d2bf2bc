"""A real gRPC server in the test's own event loop, with the kit's whole pipeline, on a free port and without Redis.

async with running_server(Binding(add_UserServiceServicer_to_server, api), service="user") as server:
    stub = UserServiceStub(server.channel)
    await stub.GetUser(request, metadata=server.as_user("u1", role="PRO"))
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from observability.telemetry import Telemetry, start_telemetry
from services.kit.call import DEFAULT_TENANT, Principal
from services.kit.clock import Clock, SystemClock
from services.kit.identity import AUTHORIZATION, ServiceIdentity
from services.kit.key_files import KeySetFile
from services.kit.keys import MESH_KEY, MESH_KEY_SET, USER_KEY, USER_KEY_SET, SigningKey, ensure_keys
from services.kit.pipeline.authentication import ApiKeys, Authenticator
from services.kit.pipeline.core import Pipeline
from services.kit.pipeline.deadline import Limits
from services.kit.pipeline.methods import Methods
from services.kit.revocation import Revocations
from services.kit.server import Binding, Running, foreign_rules, serving
from services.kit.settings import ServerSettings
from services.kit.tokens import TokenVerifier, sign_service_token, sign_user_token
from tests.support.eventually import eventually

Metadata = tuple[tuple[str, str], ...]


@dataclass
class MeshKeys:
    """The keys of a mesh, and tokens made with them."""

    folder: Path
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        ensure_keys(self.folder)
        self.user = SigningKey.load(self.folder / USER_KEY)
        self.mesh = SigningKey.load(self.folder / MESH_KEY)

    def as_user(
        self, user: str = "u1", *, role: str = "FREE", session: str = "s1", tenant: str = DEFAULT_TENANT
    ) -> Metadata:
        """Return the metadata of a call by a signed-in user."""
        principal = Principal(tenant=tenant, user=user, session=session, role=role)
        return bearer(sign_user_token(self.user, principal, self.clock))

    def as_service(self, caller: str, callee: str, acting_for: Principal | None = None) -> Metadata:
        """Return the metadata of a call by another service."""
        return bearer(sign_service_token(self.mesh, caller, callee, acting_for, self.clock))

    def identity(self, service: str) -> ServiceIdentity:
        return ServiceIdentity(service, self.mesh, self.clock)

    def verifier(self, service: str) -> TokenVerifier:
        users, mesh = (KeySetFile(self.folder / name, self.clock) for name in (USER_KEY_SET, MESH_KEY_SET))
        return TokenVerifier(service, users, mesh, self.clock)


def bearer(token: str) -> Metadata:
    return ((AUTHORIZATION, f"Bearer {token}"),)


@dataclass
class RunningServer:
    """A server under test: where it is, a plain channel to it, its keys and the spans it ended."""

    service: str
    running: Running
    channel: grpc.aio.Channel
    keys: MeshKeys
    telemetry: Telemetry
    exporter: InMemorySpanExporter
    draining: asyncio.Event

    @property
    def address(self) -> str:
        return self.running.address

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    async def last_span(self) -> ReadableSpan:
        """Return the span that ended last; waits for one: a caller has its answer a moment before the span ends."""
        return (await eventually(lambda: self.spans))[-1]

    def as_user(
        self, user: str = "u1", *, role: str = "FREE", session: str = "s1", tenant: str = DEFAULT_TENANT
    ) -> Metadata:
        """Return the metadata of a call by a signed-in user."""
        return self.keys.as_user(user, role=role, session=session, tenant=tenant)

    def as_service(self, caller: str, acting_for: Principal | None = None) -> Metadata:
        """Return the metadata of a call to this server by another service."""
        return self.keys.as_service(caller, self.service, acting_for)


@asynccontextmanager
async def running_server(
    *bindings: Binding,
    service: str = "user",
    keys: MeshKeys | None = None,
    settings: ServerSettings | None = None,
    limits: Limits | None = None,
    revocations: Revocations | None = None,
    api_keys: ApiKeys | None = None,
) -> AsyncIterator[RunningServer]:
    """Serve `bindings` inside the block as the service of that name."""
    exporter = InMemorySpanExporter()
    telemetry = start_telemetry(service, processors=[SimpleSpanProcessor(exporter)])
    draining = asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        keys = keys or MeshKeys(Path(folder))
        pipeline = Pipeline(
            tracer=telemetry.tracer,
            authenticator=Authenticator(keys.verifier(service), revocations, api_keys),
            methods=Methods(foreign_rules(bindings)),
            limits=limits,
        )
        settings = settings or ServerSettings(listen="127.0.0.1:0", metrics_port=0, drain_seconds=1.0)
        async with (
            AsyncExitStack() as after_drain,  # calls in flight are to see how the drain treats them
            serving(settings, bindings, pipeline, draining) as running,
        ):
            channel = await after_drain.enter_async_context(grpc.aio.insecure_channel(running.address))
            yield RunningServer(service, running, channel, keys, telemetry, exporter, draining)
    telemetry.close()
