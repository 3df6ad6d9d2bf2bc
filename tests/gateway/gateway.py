"""A whole gateway for a test: Envoy, its backends, somebody who signs tokens, a receiver of traces."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_envoy.config import Address, Tls
from gateway_envoy.config import TraceReceiver as Receiver
from tests.gateway.backend import Backend
from tests.gateway.contract import Messages
from tests.gateway.envoy import HOST, Envoy, gateway_config, running
from tests.gateway.tokens import Issuer
from tests.gateway.traces import TraceReceiver


@dataclass(frozen=True)
class Workshop:
    """What all gateways of a session share."""

    folder: Path
    descriptor_set: Path
    messages: Messages
    issuer: Issuer

    @contextmanager
    def gateway(self, *names: str, backend_tls: Tls | None = None, **changes: Any) -> Iterator["Gateway"]:
        """Runs a gateway with a backend for each name until the end of the block."""
        with ExitStack() as stack:
            backends = [Backend(name, self.messages, tls=backend_tls) for name in names]
            for backend in backends:
                backend.start()
                stack.callback(backend.stop)
            receiver = TraceReceiver()
            stack.callback(receiver.stop)
            traces = Receiver(Address(HOST, receiver.port), tls=False)
            config = gateway_config(self.folder, self.descriptor_set, backends, **({"traces": traces} | changes))
            envoy = stack.enter_context(running(config, self.folder))
            yield Gateway(envoy, {backend.name: backend for backend in backends}, self.issuer, self.messages, receiver)


@dataclass
class Gateway:
    """What a test works with."""

    envoy: Envoy
    backends: dict[str, Backend]
    issuer: Issuer
    messages: Messages
    traces: TraceReceiver

    @property
    def port(self) -> int:
        return self.envoy.edge

    @property
    def user(self) -> Backend:
        return self.backends["user"]

    @property
    def probe(self) -> Backend:
        return self.backends["probe"]

    def reset(self) -> None:
        """Gives the backends their first behaviour back."""
        for backend in self.backends.values():
            backend.reset()

    def reply(self, **values: Any) -> Any:
        """Returns an EchoReply."""
        return self.messages("candela.probe.v1.EchoReply", **values)

    def event(self, **values: Any) -> Any:
        """Returns an Event of a stream."""
        return self.messages("candela.probe.v1.Event", **values)

    def echo(self, **values: Any) -> bytes:
        """Returns an EchoRequest in its binary form."""
        request: bytes = self.messages("candela.probe.v1.EchoRequest", **values).SerializeToString()
        return request
