"""Start-up settings: `CANDELA_…` environment variables, read once in a process's main into a frozen typed object.

A service adds its own fields in a subclass and names itself:

    class UserSettings(ServerSettings):
        service_name: ClassVar[str] = "user"
        access_token_minutes: int = Field(15, ge=1, description="Life of an access token, in minutes.")

`docs/configuration.md` is printed from these types (settings_docs.py), so every field has a description.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.kit.ports_plan import DEFAULT_BASE, MOST_REPLICAS, SERVICE_OFFSETS, PortPlan

MIB = 1024 * 1024
PREFIX = "CANDELA_"
Seconds = Annotated[float, Field(gt=0)]


class CandelaSettings(BaseSettings):
    """What every process of the mesh reads, servers and supervisor alike."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    port_base: int = Field(
        DEFAULT_BASE, ge=1024, le=60000, description="The edge port. Every other port of the mesh follows from it."
    )
    replicas: int = Field(
        1,
        ge=1,
        le=MOST_REPLICAS,
        description="How many of each service and of Envoy `make run` starts; also how many addresses of each the "
        "others use when they are told none.",
    )
    data_dir: Path = Field(Path(".candela"), description="The one folder of all state: keys, databases, objects, logs.")
    keys_dir: Path | None = Field(
        None, description="The folder of keys and key sets; `keys` in the data folder if empty."
    )
    objects_url: str = Field(
        "",
        description="Where files are stored: a folder (a path or `file:///path`) or "
        "`s3://bucket/prefix?region=…&endpoint=https://…`; `objects` in the data folder if empty.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis, such as `redis://127.0.0.1:8100/0` or `redis+cluster://host:6379,host:6379`; the mesh's "
        "own if empty. May hold a password.",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="OTLP/gRPC receiver of traces, `host:port` or an http(s) URL; the supervisor's own if empty, "
        "`off` to export none.",
    )
    trace_sampling_ratio: float = Field(
        1.0, ge=0, le=1, description="Part of new traces that is recorded, 0 to 1. Failed calls are recorded always."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least level that is logged."
    )

    @property
    def ports(self) -> PortPlan:
        """The ports of this mesh."""
        return PortPlan(self.port_base)

    @property
    def keys(self) -> Path:
        """The folder of keys, resolved."""
        return self.keys_dir or self.data_dir / "keys"

    @property
    def objects(self) -> str:
        """Where files are stored, resolved. Credentials of S3 are no part of it."""
        return self.objects_url or str((self.data_dir / "objects").absolute())

    @property
    def redis(self) -> str:
        """The Redis URL, resolved. It may hold a password: never log it."""
        return self.redis_url.get_secret_value() if self.redis_url else f"redis://127.0.0.1:{self.ports.redis}/0"

    @property
    def otlp(self) -> str:
        """The trace receiver, resolved; empty when traces are not exported."""
        if self.otlp_endpoint is None:
            return f"127.0.0.1:{self.ports.otlp}"
        return "" if self.otlp_endpoint.lower() == "off" else self.otlp_endpoint


class ServerSettings(CandelaSettings):
    """What every gRPC server reads. `service_name` is one of the names in ports_plan.py."""

    service_name: ClassVar[str] = ""

    listen: str = Field(
        "",
        description="Where gRPC listens: `host:port` or `unix:path`; the service's loopback port of the plan if empty. "
        "An address beyond loopback needs `tls_cert` and `tls_key`.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the page with `/metrics` and `/health`; of the plan if empty, none if 0.",
    )
    metrics_host: str = Field(
        "",
        description="The IP address of that page; loopback, in plain HTTP, if empty. With `tls_cert` a given address "
        "speaks TLS, and `/metrics` asks for a certificate of `tls_ca`; one beyond loopback needs `tls_cert`.",
    )
    tls_cert: Path | None = Field(None, description="The server's certificate chain, PEM. Switches TLS on.")
    tls_key: Path | None = Field(None, description="The private key of `tls_cert`, PEM.")
    tls_ca: Path | None = Field(
        None,
        description="Certificate authorities of the mesh, PEM: callers must then show a certificate (mutual TLS), "
        "and calls to other services use TLS.",
    )
    max_receive_bytes: int = Field(33 * MIB, ge=1024, description="Largest message taken in, in bytes.")
    max_send_bytes: int = Field(33 * MIB, ge=1024, description="Largest message sent out, in bytes.")
    drain_notice_seconds: float = Field(
        0.0,
        ge=0,
        description="How long after SIGTERM new calls are still taken, so that whoever balances has seen NOT_SERVING "
        "and uses another replica, in seconds. Only where there is another.",
    )
    drain_seconds: Seconds = Field(10.0, description="How long calls in flight may finish after SIGTERM, in seconds.")
    unary_limit_seconds: Seconds = Field(60.0, description="Longest time a call with one reply may take, in seconds.")
    stream_limit_seconds: Seconds = Field(3600.0, description="Longest time a stream of replies may take, in seconds.")
    max_connection_age_seconds: float = Field(
        0.0, ge=0, description="Age at which a connection is closed gracefully so that callers re-balance; never if 0."
    )
    revocation_poll_seconds: Seconds = Field(
        0.25, description="How often revoked sessions are read from Redis, in seconds."
    )
    revocation_stale_seconds: Seconds = Field(
        5.0, description="How long Redis may be unreachable before signed-in calls are refused, in seconds."
    )
    reflection: bool = Field(False, description="Whether gRPC server reflection is offered.")
    channelz: bool = Field(False, description="Whether gRPC's own channel statistics are offered.")
    access_log: bool = Field(True, description="Whether every call is logged, one line each.")
    exchange_access_log: bool = Field(
        False,
        description="Whether `access_log` means every call inside an Exchange and of the Open Inference Protocol too, "
        "and not only those that fail (or, of the latter, take a second): a line costs more than such a call.",
    )
    exchange_sampling_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Part of the calls inside an Exchange without a trace that begin one, 0 to 1, before "
        "`trace_sampling_ratio`. Failed and slow ones are recorded always.",
    )
    exchange_window: int = Field(
        4096, ge=1, le=65536, description="How many calls of one caller may be under way inside an Exchange."
    )
    exchange_heartbeat_seconds: Seconds = Field(
        2.0,
        description="How often each side of a quiet Exchange shows that it is there, in seconds; after three times "
        "without a sign the other takes it for dead.",
    )
    user_endpoints: str = Field("", description="Where the user service is: addresses separated by commas.")
    payment_endpoints: str = Field("", description="Where the payment service is.")
    recognition_endpoints: str = Field("", description="Where the recognition service is.")
    generation_endpoints: str = Field("", description="Where the generation service is.")
    chat_endpoints: str = Field("", description="Where the chat service is.")
    inference_endpoints: str = Field(
        "",
        description="Every inference server, `host:port` separated by commas, or one DNS name that gives all of them.",
    )

    @property
    def address(self) -> str:
        """Where gRPC listens, resolved."""
        return self.listen or f"127.0.0.1:{self.ports.service(self.service_name)}"

    @property
    def metrics(self) -> int:
        """The Prometheus port, resolved; 0 for none."""
        return self.ports.metrics(self.service_name) if self.metrics_port is None else self.metrics_port

    def endpoints(self, service: str) -> tuple[str, ...]:
        """Return the addresses of another service by its name, at least one; KeyError for an unknown name."""
        if service not in SERVICE_OFFSETS:
            raise KeyError(service)
        given = tuple(part.strip() for part in str(getattr(self, f"{service}_endpoints")).split(",") if part.strip())
        return given or self.ports.addresses(service, self.replicas)

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("CANDELA_TLS_CERT and CANDELA_TLS_KEY go together: one of them is missing")
        if self.listen and not self.tls_cert and not is_loopback(self.listen):
            raise ValueError(
                f"CANDELA_LISTEN={self.listen} is reachable from other machines and needs TLS: "
                "set CANDELA_TLS_CERT and CANDELA_TLS_KEY, or listen on 127.0.0.1"
            )
        if self.metrics_host and not self.tls_cert and not is_loopback(f"{self.metrics_host}:0"):
            raise ValueError(
                f"CANDELA_METRICS_HOST={self.metrics_host} is reachable from other machines and needs TLS: "
                "set CANDELA_TLS_CERT and CANDELA_TLS_KEY, or leave it on 127.0.0.1"
            )
        return self


def is_loopback(address: str) -> bool:
    """Say whether only this machine can reach `address` (`host:port`, `[v6]:port` or `unix:path`)."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
