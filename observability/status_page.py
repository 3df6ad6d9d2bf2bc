"""The page of one process for machines that watch it: `/metrics` for Prometheus, `/health` for whoever starts it."""

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Self

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

LOOPBACK = "127.0.0.1"
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PageTls:
    """The page's certificate, and whose certificates readers of `/metrics` must show; PEM files."""

    certificate: Path
    key: Path
    authorities: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return TLS 1.3 that asks for a certificate without insisting: a probe has none. OSError without the files."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        if self.authorities is not None:
            context.load_verify_locations(self.authorities)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


class StatusPage:
    """An HTTP server in threads of its own, so that a busy loop is seen as what it is: slow, not gone.

    `GET /health` answers 200 while `healthy` says so and otherwise 503, without any more: who may know more asks
    gRPC's health service. `GET /metrics` is for everybody on loopback; with `tls` and its authorities only for readers
    with a certificate of the mesh.
    """

    def __init__(
        self, port: int, healthy: Callable[[], bool], *, host: str = LOOPBACK, tls: PageTls | None = None
    ) -> None:
        """Listen; raises OSError when the port is taken or a TLS file cannot be read."""
        context = tls.context() if tls else None

        class Handler(_Handler):
            is_healthy = staticmethod(healthy)
            asks_for_certificates = tls is not None and tls.authorities is not None

        self._server = _Server((host, port), Handler, context)
        self._thread = threading.Thread(target=self._server.serve_forever, name="status page", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None
    ) -> None:
        self._context = context
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind, but leave out HTTPServer's look-up of the host's name, which may ask a name server."""
        TCPServer.server_bind(self)  # with SO_REUSEADDR: a restarted process must get its port back at once
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the request's own thread: one slow caller must not hold up the others."""
        request.settimeout(_TIMEOUT_SECONDS)
        if self._context is not None:
            request = self._context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        if self._context is not None:
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: port scanners and callers that leave are no news."""


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "candela", ""
    is_healthy: Callable[[], bool]
    asks_for_certificates = False

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            healthy = self.is_healthy()
            status = "SERVING" if healthy else "NOT_SERVING"
            self._answer(200 if healthy else 503, "application/json", b'{"status":"%s"}' % status.encode())
        elif path != "/metrics":
            self._answer(404, "text/plain", b"the pages are /metrics and /health\n")
        elif self.asks_for_certificates and not self.connection.getpeercert():
            self._answer(403, "text/plain", b"this page is for holders of a certificate of the mesh\n")
        else:
            encode, content_type = choose_encoder(self.headers.get("accept", ""))
            self._answer(200, content_type, encode(REGISTRY))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write no line for each scrape."""

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
