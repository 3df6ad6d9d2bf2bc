"""The server around the pipeline: unknown methods, health, limits, ports, TLS."""

import asyncio
import datetime
import ipaddress
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.kit import server as server_module
from services.kit.server import Binding, StartError
from services.kit.settings import ServerSettings
from tests.support.eventually import eventually
from tests.support.grpc_server import running_server
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.echo import Echo, binding, pb_grpc
from tests.unit.kit_grpc.shapes import SHAPES, finish, invoke

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def settings(**changes: Any) -> ServerSettings:
    values: dict[str, Any] = {"listen": "127.0.0.1:0", "metrics_port": 0, "drain_seconds": 1.0}
    return ServerSettings(**(values | changes))


@pytest.mark.parametrize("path", ["/kit_testing.v1.EchoService/None", "/no.Service/Method"])
async def test_an_unknown_method_is_told_like_every_error(echo: EchoServer, path: str) -> None:
    call: Any = echo.server.channel.unary_unary(path)
    seen = await finish(call(b"", timeout=5))
    assert seen.code is grpc.StatusCode.UNIMPLEMENTED
    assert seen.info.reason == "UNIMPLEMENTED"
    span = await echo.server.last_span()
    assert span.name == "_OTHER"  # callers choose those names: they are neither span names nor labels


async def test_a_message_above_the_limit_is_refused_and_the_server_lives() -> None:
    async with running_server(binding(Echo()), settings=settings(max_receive_bytes=2048)) as server:
        stub = pb_grpc.EchoServiceStub(server.channel)
        refused = await invoke(stub, "Open", "x" * 5000)
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await invoke(stub, "Open", "x")).code is grpc.StatusCode.OK


async def test_a_call_waits_for_no_other_method(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    wait = asyncio.wait

    async def counting(awaitables: Any, **options: Any) -> Any:
        waited.append(len(awaitables))
        return await wait(awaitables, **options)

    monkeypatch.setattr(asyncio, "wait", counting)  # grpc.aio's own loop looks it up at every call
    async with running_server(binding(Echo())) as server:
        assert (await invoke(pb_grpc.EchoServiceStub(server.channel), "Open", "x")).code is grpc.StatusCode.OK
        assert set(waited) == {1}  # and not one for each registered method


async def test_health_tells_of_every_service_and_of_the_drain() -> None:
    servicer = Echo()
    async with running_server(binding(servicer)) as server:
        health = health_pb2_grpc.HealthStub(server.channel)
        for name in ("", "kit_testing.v1.EchoService"):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert reply.status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health.Check(health_pb2.HealthCheckRequest(service="other"), timeout=5)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
        assert (await watch.read()).status == SERVING
        reading = asyncio.ensure_future(watch.read())
    assert (await reading).status == NOT_SERVING


async def test_calls_in_flight_finish_and_new_ones_are_refused() -> None:
    servicer = Echo()
    async with AsyncExitStack() as client:  # its channel outlives the server, so that every answer can arrive
        async with running_server(binding(servicer), settings=settings(drain_seconds=5.0)) as server:
            channel = await client.enter_async_context(grpc.aio.insecure_channel(server.address))
            stub = pb_grpc.EchoServiceStub(channel)
            in_flight = asyncio.ensure_future(invoke(stub, "Open", "wait"))
            await asyncio.wait_for(servicer.started.wait(), 5)

            async def finish_late() -> grpc.StatusCode:
                await server.draining.wait()
                late = await invoke(stub, "Open", "late", timeout=1)
                servicer.go_on.set()
                return late.code

            late = asyncio.ensure_future(finish_late())
        assert (await in_flight).code is grpc.StatusCode.OK
        assert await late is not grpc.StatusCode.OK


async def test_a_call_that_does_not_finish_is_cut_when_the_drain_is_over() -> None:
    servicer = Echo()
    async with AsyncExitStack() as client:
        async with running_server(binding(servicer), settings=settings(drain_seconds=0.2)) as server:
            channel = await client.enter_async_context(grpc.aio.insecure_channel(server.address))
            in_flight = asyncio.ensure_future(invoke(pb_grpc.EchoServiceStub(channel), "Open", "wait"))
            await asyncio.wait_for(servicer.started.wait(), 5)
        assert servicer.cancelled.is_set()
        assert (await in_flight).code is not grpc.StatusCode.OK


async def test_a_busy_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError) as refused:
            async with running_server(binding(Echo()), settings=settings(listen=f"127.0.0.1:{port}")):
                pytest.fail("it started")
    assert str(refused.value) == f"the server cannot listen on 127.0.0.1:{port}: Address already in use"


async def test_two_servers_do_not_share_a_port() -> None:
    async with running_server(binding(Echo())) as first:
        with pytest.raises(StartError, match="already in use"):
            async with running_server(binding(Echo()), settings=settings(listen=first.address)):
                pytest.fail("it started")


async def test_a_unix_socket_serves_as_well(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/s"
    async with running_server(binding(Echo()), settings=settings(listen=path)) as server:
        assert (server.address, server.running.port) == (path, 0)
        assert (await invoke(pb_grpc.EchoServiceStub(server.channel), "Open", "x")).code is grpc.StatusCode.OK


@pytest.mark.parametrize("offered", [True, False])
async def test_reflection_is_off_unless_asked_for(offered: bool) -> None:
    async with running_server(binding(Echo()), settings=settings(reflection=offered)) as server:
        stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        seen = await finish(stub.ServerReflectionInfo(iter([request]), timeout=5))
    assert seen.code is (grpc.StatusCode.OK if offered else grpc.StatusCode.UNIMPLEMENTED)


async def test_a_handler_that_is_not_asynchronous_is_refused_at_the_start() -> None:
    class Blocking(Echo):
        def Open(self, request: Any, context: Any) -> Any:
            return request

    with pytest.raises(StartError, match="EchoService/Open is not asynchronous"):
        async with running_server(binding(Blocking())):
            pytest.fail("it started")


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_method_that_the_servicer_does_not_have_is_unimplemented(shape: str) -> None:
    bare = Binding(pb_grpc.add_EchoServiceServicer_to_server, pb_grpc.EchoServiceServicer())
    async with running_server(bare) as server:
        seen = await invoke(pb_grpc.EchoServiceStub(server.channel), shape, "x", metadata=server.as_user())
        refused = await invoke(pb_grpc.EchoServiceStub(server.channel), shape, "x")
    assert seen.code is grpc.StatusCode.UNIMPLEMENTED
    assert seen.info.reason == "UNIMPLEMENTED"
    assert refused.code is grpc.StatusCode.UNAUTHENTICATED


def _certificate(folder: Path) -> dict[str, Path]:
    """Write a certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "candela test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
    files["tls_cert"].write_bytes(certificate.public_bytes(Encoding.PEM))
    files["tls_key"].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def test_mutual_tls_admits_only_who_shows_a_certificate(tmp_path: Path) -> None:
    files = _certificate(tmp_path)
    cert, key = files["tls_cert"].read_bytes(), files["tls_key"].read_bytes()
    credentials = {
        "ours": grpc.ssl_channel_credentials(cert, key, cert),
        "without a certificate": grpc.ssl_channel_credentials(cert),
    }
    codes = {}
    async with running_server(binding(Echo()), settings=settings(tls_ca=files["tls_cert"], **files)) as server:
        for who, credential in credentials.items():
            async with grpc.aio.secure_channel(server.address, credential) as channel:
                codes[who] = (await invoke(pb_grpc.EchoServiceStub(channel), "Open", "x", timeout=3)).code
        plain = (await invoke(pb_grpc.EchoServiceStub(server.channel), "Open", "x", timeout=3)).code
    assert codes == {"ours": grpc.StatusCode.OK, "without a certificate": grpc.StatusCode.UNAVAILABLE}
    assert plain is grpc.StatusCode.UNAVAILABLE


async def test_calls_are_counted_while_they_last_and_after(echo: EchoServer) -> None:
    from prometheus_client import REGISTRY  # noqa: PLC0415 - beside its only use

    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"service": "kit_testing.v1.EchoService", **labels}) or 0.0

    before = value("rpc_server_requests_total", method="Open", code="NOT_FOUND")
    in_flight = asyncio.ensure_future(invoke(echo.stub, "Open", "wait"))
    await eventually(lambda: value("rpc_server_in_flight") == 1)
    echo.servicer.go_on.set()
    await in_flight
    await invoke(echo.stub, "Open", "not found")
    await eventually(lambda: value("rpc_server_requests_total", method="Open", code="NOT_FOUND") == before + 1)
    assert value("rpc_server_duration_seconds_count", method="Open") >= 2
    await eventually(lambda: value("rpc_server_in_flight") == 0)


async def test_a_server_that_never_stops_does_not_keep_its_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck:
        async def stop(self, _: float | None) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(server_module, "_GRACE_SECONDS", 0.01)
    async with asyncio.timeout(10.0):
        await server_module._drain(cast(grpc.aio.Server, Stuck()), 0.01, None)
    assert "does not stop" in caplog.text
