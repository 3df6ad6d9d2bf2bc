"""Makes what a deployment must keep secret: `python -m deploy.secrets DIR`. Existing files are never replaced.

| in DIR | what | for |
|---|---|---|
| keys/ | signing keys and the envelope key (supervisor/keys.py says who reads which) | services, gateways |
| tls/ca.crt, tls/ca.key | the authority of the certificates; its key stays with whoever deploys | nobody at run time |
| tls/NAME.crt, tls/NAME.key | a certificate a process group, valid for its DNS names | that process group |
| redis.password, postgres.password | random passwords | the two servers |
| services.env | the URLs that hold those passwords | services (compose) |

For Kubernetes `docs/deployment.md` shows the commands that make secrets of these files.
"""

import argparse
import datetime
import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from supervisor.keys import ensure_keys

PROCESS_GROUPS: Final = ("gateway", "user", "recognition", "inference", "redis", "postgres", "prometheus")
_AUTHORITY_DAYS: Final = 3650
_CERTIFICATE_DAYS: Final = 397
_AUTHORITY_KEY: Final = "ca.key"
_BACK: Final = datetime.timedelta(minutes=5)  # for clocks that differ


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """Whoever signs the certificates of one mesh."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, name: str) -> Self:
        """Make an authority with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(f"Candela {name}")
        builder = _certificate(subject, subject, key.public_key(), _AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> Self:
        """Read one that was made before; ValueError when it is damaged or of another kind."""
        private = serialization.load_pem_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an elliptic curve key")
        return cls(x509.load_pem_x509_certificate(certificate), private)

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, hosts: Sequence[str]) -> KeyPair:
        """Return a certificate for a process group that serves under these DNS names, and calls others with it."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _certificate(_named(name), self.certificate.subject, key.public_key(), _CERTIFICATE_DAYS)
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        for extension, critical in (
            (x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False),
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usages, False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), private_pem(key))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _BACK,
        not_valid_after=now + datetime.timedelta(days=days),
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def dns_names(group: str) -> tuple[str, ...]:
    """Return the names under which a process group is reached: in compose, and in a cluster's namespace `candela`."""
    return (group, f"{group}.candela", f"{group}.candela.svc", f"{group}.candela.svc.cluster.local", "localhost")


def ensure_secrets(folder: Path, *, names: Sequence[str] = PROCESS_GROUPS) -> list[str]:
    """Make what is missing below `folder` and return the names of what was made. OSError when it cannot be written."""
    made = [f"keys/{name}" for name in ensure_keys(_private(folder / "keys"))]
    authority = _ensure_authority(_private(folder / "tls"), made)
    for name in names:
        if not (folder / "tls" / f"{name}.crt").exists():
            pair = authority.issue(name, dns_names(name))
            made += [_write(folder, f"tls/{name}.key", pair.key), _write(folder, f"tls/{name}.crt", pair.certificate)]
    for name in ("redis.password", "postgres.password"):
        if not (folder / name).exists():
            made.append(_write(folder, name, secrets.token_urlsafe(32).encode()))
    if not (folder / "services.env").exists():
        made.append(_write(folder, "services.env", _service_urls(folder).encode()))
    return made


def _ensure_authority(folder: Path, made: list[str]) -> Authority:
    certificate, key = folder / "ca.crt", folder / _AUTHORITY_KEY
    if certificate.exists():
        return Authority.load(certificate.read_bytes(), key.read_bytes())
    authority = Authority.new("mesh")
    made.append(_write(folder.parent, f"tls/{_AUTHORITY_KEY}", private_pem(authority.key)))
    made.append(_write(folder.parent, "tls/ca.crt", authority.certificate_pem))
    return authority


def _service_urls(folder: Path) -> str:
    """Return the environment file with the URLs that hold passwords."""
    redis, postgres = ((folder / f"{name}.password").read_text() for name in ("redis", "postgres"))
    server = f"postgresql+asyncpg://candela:{postgres}@postgres:5432"
    return (
        f"CANDELA_REDIS_URL=rediss://:{redis}@redis:6379/0?ssl_ca_certs=/tls/ca.crt\n"
        f"CANDELA_USER_DATABASE_URL={server}/candela_user\n"
        f"CANDELA_RECOGNITION_DATABASE_URL={server}/candela_recognition\n"
    )


def _give(folder: Path, owner: int) -> None:
    """Give all that containers may read to their user. PermissionError for anybody but root."""
    for path in (folder, *folder.rglob("*")):
        if path.name != _AUTHORITY_KEY:
            os.chown(path, owner, owner)


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _write(folder: Path, name: str, content: bytes) -> str:
    """Write a file that only its owner reads and return its name."""
    with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing and say what was made."""
    parser = argparse.ArgumentParser(prog="python -m deploy.secrets", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where to; readable by its owner only")
    parser.add_argument("--owner", type=int, help="numeric user and group that shall own what containers read")
    options = parser.parse_args(arguments)
    made = ensure_secrets(options.folder)
    if options.owner is not None:
        _give(options.folder, options.owner)
    print("\n".join(f"made {name}" for name in made) or "nothing is missing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
