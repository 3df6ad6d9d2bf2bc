"""The configuration itself: what is committed, what Envoy accepts, what wrong settings say."""

import datetime
import os
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway_envoy import cli
from gateway_envoy.build import bootstrap, to_yaml
from gateway_envoy.cli import GOLDEN, golden_text, main, validate
from gateway_envoy.config import Address, GatewayConfig, MeshTls, Tls, TraceReceiver, Upstream
from gateway_envoy.contract import ContractError, read_contract
from gateway_envoy.documents import DOCUMENTS
from gateway_envoy.paths import parse_template
from gateway_envoy.settings import GatewaySettings, resolve
from tests.gateway.gateway import Workshop
from tests.gateway.http import call
from tests.support.binaries import requires_binary


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workshop: Workshop) -> Path:
    """A data folder with a key set, and no settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("CANDELA_")]:
        monkeypatch.delenv(name)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/user-jwks.json").write_bytes((workshop.folder / "user-jwks.json").read_bytes())
    monkeypatch.setenv("CANDELA_DATA_DIR", str(tmp_path))
    return tmp_path


def configuration(**settings: Any) -> GatewayConfig:
    return resolve(GatewaySettings(**settings))


def test_golden() -> None:
    assert GOLDEN.read_text(encoding="utf-8") == golden_text(), "run `envoy-config-tool golden` and look at the change"


def test_golden_tells_nothing_of_this_machine() -> None:
    assert str(Path.cwd()) not in GOLDEN.read_text(encoding="utf-8")


@requires_binary("envoy")
def test_envoy_accepts_the_default(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["validate"]) == 0
    assert "Deprecated" not in capfd.readouterr().err


@requires_binary("envoy")
def test_envoy_accepts_every_option(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    config = configuration(
        gateway_services="user,recognition,inference,payment,generation,chat",
        gateway_host="192.0.2.1",
        gateway_tls_cert=certificate,
        gateway_tls_key=key,
        gateway_access_log="/dev/stdout",
        gateway_cors_origins="https://app.example.org,https://admin.example.org",
        otlp_endpoint="https://collector.example.org",
        user_endpoints="user-1.example.org:9000,user-2.example.org:9000",
        inference_endpoints="10.0.0.1:9000,10.0.0.2:9000",
        tls_ca=certificate,
        tls_cert=certificate,
        tls_key=key,
        port_base=20000,
    )
    assert validate(to_yaml(bootstrap(replace(config, documents=())))) == 0


def test_build_writes_what_diff_compares_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run/envoy.yaml"
    assert main(["build", "--out", str(file)]) == 0
    assert (tmp_path / "logs").is_dir()
    assert main(["diff", str(file)]) == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("CANDELA_PORT_BASE", "12000")
    assert main(["diff", str(file)]) == 1
    assert "port_value: 12000" in capsys.readouterr().out


def test_document_that_is_not_there_has_no_route(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tuple(replace(document, file=tmp_path / "none") for document in DOCUMENTS)
    monkeypatch.setattr(cli, "DOCUMENTS", missing)
    assert main(["build"]) == 0
    printed = capsys.readouterr()
    assert "path: /openapi.json" not in printed.out
    assert "/openapi.json will not be served" in printed.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gateway_host": "192.0.2.1"}, "needs TLS"),
        ({"gateway_host": "::"}, "needs TLS"),
        ({"gateway_tls_cert": "cert.pem"}, "go together"),
        ({"gateway_services": "user,cinema"}, "cinema"),
        ({"gateway_services": ""}, "at least one"),
        ({"user_endpoints": "nonsense"}, "host:port"),
        ({"user_endpoints": "user.example.org:9000"}, "CANDELA_TLS_CA"),
        ({"tls_cert": "cert.pem"}, "CANDELA_TLS_KEY go together"),
        ({"otlp_endpoint": "ftp://a:1"}, "http"),
        ({"gateway_unary_seconds": 0}, "greater than 0"),
    ],
)
def test_wrong_settings(
    settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"CANDELA_{name.upper()}", str(value) or ",")
    assert main(["build"]) == 2
    assert message in capsys.readouterr().err


def test_missing_keys(clean_environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clean_environment / "keys/user-jwks.json").unlink()
    assert main(["build"]) == 2
    assert "make run" in capsys.readouterr().err


def test_only_deployed_services_have_routes_and_clusters() -> None:
    built = bootstrap(configuration(gateway_services="user"))
    assert {cluster["name"] for cluster in built["static_resources"]["clusters"]} == {"user", "otlp", "admin"}
    assert "recognition" not in yaml.safe_dump(built["static_resources"]["listeners"])


def test_no_receiver_no_tracing() -> None:
    assert "opentelemetry" not in to_yaml(bootstrap(configuration(otlp_endpoint="off"))["static_resources"])


def test_names_are_resolved_and_addresses_are_not() -> None:
    endpoints = {"user_endpoints": "user.example.org:1", "recognition_endpoints": "10.0.0.1:1,10.0.0.2:1"}
    built = bootstrap(configuration(**endpoints, tls_ca="ca.pem"))
    kinds = {cluster["name"]: cluster["type"] for cluster in built["static_resources"]["clusters"]}
    assert (kinds["user"], kinds["recognition"]) == ("STRICT_DNS", "STATIC")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8101", TraceReceiver(Address("127.0.0.1", 8101), tls=False)),
        ("http://127.0.0.1:8101", TraceReceiver(Address("127.0.0.1", 8101), tls=False)),
        ("https://otel.example.org/", TraceReceiver(Address("otel.example.org", 4317), tls=True)),
        ("[::1]:4317", TraceReceiver(Address("::1", 4317), tls=False)),
    ],
)
def test_trace_receivers(text: str, expected: TraceReceiver) -> None:
    assert TraceReceiver.parse(text) == expected


@pytest.mark.parametrize(
    ("template", "label", "yes", "no"),
    [
        ("/v1/users", "/v1/users", ["/v1/users"], ["/v1/users/", "/v1/userss"]),
        ("/v1/{name=users/*}", "/v1/users/{name}", ["/v1/users/me"], ["/v1/users", "/v1/users/a/b", "/v1/users/a:b"]),
        ("/v1/{user.name=users/*}", "/v1/users/{name}", ["/v1/users/a%20b"], ["/v1/other/a"]),
        (
            "/v1/{name=users/*}:change",
            "/v1/users/{name}:change",
            ["/v1/users/a:change"],
            ["/v1/users/a", "/v1/users/a:changes"],
        ),
        ("/v1/{c}/x/{m}:resume", "/v1/{c}/x/{m}:resume", ["/v1/1/x/2:resume"], ["/v1/1/x/2"]),
        ("/v1/{name=files/**}", "/v1/files/{name}", ["/v1/files/a/b"], ["/v1/files/"]),
        ("/.well-known/jwks.json", "/.well-known/jwks.json", ["/.well-known/jwks.json"], ["/xwell-known/jwks.json"]),
    ],
)
def test_templates(template: str, label: str, yes: list[str], no: list[str]) -> None:
    pattern = parse_template(template)
    assert pattern.label == label
    assert all(pattern.matches(path) for path in (*yes, pattern.sample))
    assert not any(pattern.matches(path) for path in no)


def test_contract_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="make generate"):
        read_contract(tmp_path / "none.binpb")


def test_contract_without_access_option(tmp_path: Path) -> None:
    (tmp_path / "empty.binpb").write_bytes(b"")
    with pytest.raises(ContractError, match="access"):
        read_contract(tmp_path / "empty.binpb")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Writes a certificate for localhost and its key; returns both files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(
            name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_tls(workshop: Workshop, tmp_path: Path) -> None:
    """TLS 1.3 and nothing older."""
    certificate, key = self_signed(tmp_path)
    with workshop.gateway("probe", tls=Tls(certificate, key)) as gateway:
        url = f"https://localhost:{gateway.port}/v1/probes:echo"
        context = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.post(url, json={"text": "a"}).status_code == 200
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.ConnectError):
            client.post(url, json={"text": "a"})


def test_mutual_tls_to_services(workshop: Workshop, tmp_path: Path) -> None:
    """The service asks for a certificate, and the gateway for one with the name it dialled."""
    certificate, key = self_signed(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    mesh = MeshTls(certificate, Tls(certificate, key))
    with workshop.gateway("probe", "user", mesh_tls=mesh, backend_tls=Tls(certificate, key)) as gateway:
        assert call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 200
        foreign, foreign_key = self_signed(other)
        gateway.probe.stop()
        gateway.probe.tls = Tls(foreign, foreign_key)
        gateway.probe.start()
        assert call(gateway.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 503


def test_upstream_of_config() -> None:
    upstream = configuration(user_endpoints="a.example.org:1, b.example.org:2", tls_ca="ca.pem").upstreams[0]
    assert upstream == Upstream("user", (Address("a.example.org", 1), Address("b.example.org", 2)))
