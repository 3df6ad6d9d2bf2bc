"""The gateway's start-up settings and how they become a GatewayConfig."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from gateway_envoy.config import Address, GatewayConfig, MeshTls, StaticFile, Tls, TraceReceiver, Upstream
from gateway_envoy.contract import Access, read_contract
from gateway_envoy.documents import DOCUMENTS
from gateway_envoy.limits import Limits
from services.kit.ports_plan import SERVICE_OFFSETS
from services.kit.settings import CandelaSettings, is_loopback

_LOOPBACK: Final = "127.0.0.1"


class GatewaySettings(CandelaSettings):
    """What the gateway reads on top of what every process reads."""

    gateway_services: str = Field(
        "user,recognition,inference",
        description="The services that are deployed, separated by commas. Only these have routes.",
    )
    gateway_host: str = Field(
        _LOOPBACK, description="The IP address the edge listens on. One beyond loopback needs a certificate."
    )
    gateway_tls_cert: Path | None = Field(None, description="The edge's certificate chain, PEM. Switches TLS 1.3 on.")
    gateway_tls_key: Path | None = Field(None, description="The private key of `gateway_tls_cert`, PEM.")
    gateway_access_log: str = Field(
        "",
        description="File of the access log, such as `/dev/stdout`; `logs/gateway-access.log` in the data if empty.",
    )
    gateway_admin_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Loopback port of Envoy's admin page; of the plan if empty. Each Envoy on a machine has its own.",
    )
    gateway_cors_origins: str = Field(
        "",
        description="Origins that browsers may call from, separated by commas; every port of this machine if empty.",
    )
    gateway_heap_mib: int = Field(
        768, ge=128, description="Memory the gateway may use, in MiB; near it requests are refused."
    )
    gateway_unary_seconds: float = Field(60.0, gt=0, description="Longest time for a call with one answer, in seconds.")
    gateway_file_seconds: float = Field(
        600.0, gt=0, description="The same for methods that take files, such as reading a document, in seconds."
    )
    gateway_stream_idle_seconds: float = Field(
        90.0, gt=0, description="Longest silence on a stream, in seconds. Above the services' heartbeat."
    )
    tls_ca: Path | None = Field(
        None, description="Certificate authorities of the mesh, PEM: services are then reached by TLS, by DNS names."
    )
    tls_cert: Path | None = Field(None, description="The certificate the gateway shows to services (mutual TLS), PEM.")
    tls_key: Path | None = Field(None, description="The private key of `tls_cert`, PEM.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the Prometheus page; of the plan if empty, none if 0. On loopback, or at `gateway_host` "
        "for readers with a certificate of `tls_ca`.",
    )
    user_endpoints: str = Field("", description="Where the user service is: `host:port` separated by commas.")
    payment_endpoints: str = Field("", description="Where the payment service is.")
    recognition_endpoints: str = Field("", description="Where the recognition service is.")
    generation_endpoints: str = Field("", description="Where the generation service is.")
    chat_endpoints: str = Field("", description="Where the chat service is.")
    inference_endpoints: str = Field("", description="Where the inference servers are.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("gateway_tls", "tls"):
            if bool(getattr(self, f"{name}_cert")) != bool(getattr(self, f"{name}_key")):
                names = f"CANDELA_{name.upper()}_CERT and CANDELA_{name.upper()}_KEY"
                raise ValueError(f"{names} go together: one of them is missing")
        if not self.gateway_tls_cert and not is_loopback(f"{self.gateway_host}:0"):
            raise ValueError(
                f"CANDELA_GATEWAY_HOST={self.gateway_host} is reachable from other machines and needs TLS: "
                "set CANDELA_GATEWAY_TLS_CERT and CANDELA_GATEWAY_TLS_KEY, or listen on 127.0.0.1"
            )
        if not split(self.gateway_services):
            raise ValueError("CANDELA_GATEWAY_SERVICES must name at least one service")
        if unknown := set(split(self.gateway_services)) - set(SERVICE_OFFSETS):
            raise ValueError(f"CANDELA_GATEWAY_SERVICES names services that do not exist: {', '.join(sorted(unknown))}")
        return self

    def upstreams(self) -> tuple[Upstream, ...]:
        """Return the deployed servers; raises ValueError for an address that is none."""
        found = tuple(
            Upstream(name, tuple(Address.parse(one) for one in self._endpoints(name)))
            for name in split(self.gateway_services)
        )
        far = [
            one.host for upstream in found for one in upstream.endpoints if not is_loopback(f"{one.host}:{one.port}")
        ]
        if far and not self.tls_ca:
            raise ValueError(f"{far[0]} is on another machine: services there are reached by TLS, set CANDELA_TLS_CA")
        return found

    def _endpoints(self, name: str) -> tuple[str, ...]:
        return split(str(getattr(self, f"{name}_endpoints"))) or self.ports.addresses(name, self.replicas)

    def metrics_address(self) -> Address | None:
        """Return where the Prometheus page is: beyond loopback only for readers with a certificate of the mesh."""
        shared = self.tls_ca and self.tls_cert and not is_loopback(f"{self.gateway_host}:0")
        port = self.ports.metrics("gateway") if self.metrics_port is None else self.metrics_port
        return Address(self.gateway_host if shared else _LOOPBACK, port) if port else None

    def limits(self) -> Limits:
        return Limits(
            heap=self.gateway_heap_mib << 20,
            unary=self.gateway_unary_seconds,
            file_unary=self.gateway_file_seconds,
            stream_idle=self.gateway_stream_idle_seconds,
        )


def _tls(certificate: Path | None, key: Path | None) -> Tls | None:
    return Tls(certificate, key) if certificate and key else None


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list separated by commas."""
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def resolve(
    settings: GatewaySettings,
    *,
    public_set: Path = Path("build/candela-public.binpb"),
    mesh_set: Path = Path("build/candela.binpb"),
    documents: tuple[StaticFile, ...] = DOCUMENTS,
) -> GatewayConfig:
    """Return the configuration that settings and contract ask for.

    Raises ContractError when a descriptor set cannot be used and ValueError for an address that is none.
    """
    ports = settings.ports
    upstreams = settings.upstreams()
    deployed = {upstream.name for upstream in upstreams}
    return GatewayConfig(
        edge=Address(settings.gateway_host, ports.edge),
        internal=Address(_LOOPBACK, ports.internal),
        admin=Address(_LOOPBACK, settings.gateway_admin_port or ports.envoy_admin),
        upstreams=upstreams,
        methods=tuple(m for m in read_contract(public_set) if m.server in deployed and m.access is not Access.SERVICE),
        mesh_methods=tuple(m for m in read_contract(mesh_set) if m.server in deployed),
        descriptor_set=public_set,
        jwks=settings.keys / "user-jwks.json",
        metrics=settings.metrics_address(),
        access_log=settings.gateway_access_log or str(settings.data_dir / "logs" / "gateway-access.log"),
        traces=TraceReceiver.parse(settings.otlp) if settings.otlp else None,
        sampling=settings.trace_sampling_ratio,
        documents=documents,
        tls=_tls(settings.gateway_tls_cert, settings.gateway_tls_key),
        mesh_tls=MeshTls(settings.tls_ca, _tls(settings.tls_cert, settings.tls_key)) if settings.tls_ca else None,
        cors_origins=split(settings.gateway_cors_origins),
        limits=settings.limits(),
    )
