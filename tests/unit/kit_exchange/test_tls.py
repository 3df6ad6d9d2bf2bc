"""Streams under TLS: replicas behind a name are dialled by their addresses and checked for the name."""

import asyncio
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from opentelemetry import trace

from services.kit.errors import Unavailable
from services.kit.exchange.addresses import Addresses
from services.kit.exchange.client import open_exchange
from services.kit.exchange.door import Door
from services.kit.exchange.options import ClientOptions
from services.kit.settings import ServerSettings
from services.kit.tls import channel_credentials
from tests.support.grpc_server import MeshKeys, running_server
from tests.unit.kit_exchange.models import CONTRACT, Models, embed

NAME = "inference.mesh"


def certificate_for(name: str, folder: Path) -> dict[str, Any]:
    """Write a certificate for a name that is its own authority, and its key; return them as settings."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "candela test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"tls_cert": cert_file, "tls_key": key_file, "tls_ca": cert_file}


@pytest.mark.parametrize(("name", "works"), [(NAME, True), ("somebody.else", False)])
async def test_a_replica_must_be_whom_its_name_says(tmp_path: Path, name: str, works: bool) -> None:
    files, keys, models = certificate_for(name, tmp_path), MeshKeys(tmp_path / "keys"), Models()
    settings = ServerSettings(listen="127.0.0.1:0", metrics_port=0, drain_seconds=1.0, **files)
    bindings = models.bindings(Door(CONTRACT, models.frames()))
    async with running_server(*bindings, service="inference", keys=keys, settings=settings) as server:

        async def look_up(_: str, __: int) -> Sequence[str]:
            return [server.address]

        credentials: grpc.ChannelCredentials | None = channel_credentials(settings)
        async with open_exchange(
            "inference",
            CONTRACT,
            Addresses([f"{NAME}:8092"], look_up),
            keys.identity("recognition"),
            trace.NoOpTracer(),
            options=ClientOptions(connect_seconds=5.0 if works else 0.5),
            credentials=credentials,
        ) as exchange:
            call = asyncio.ensure_future(exchange.call("embed_texts", embed("a")))
            if works:
                assert (await call).model == "m:a"
            else:
                with pytest.raises(Unavailable):
                    await call
