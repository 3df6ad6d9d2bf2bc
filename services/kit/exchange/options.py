"""How an Exchange behaves, both sides of it. The defaults are for production; tests shorten the times."""

from dataclasses import dataclass

from services.kit.grpc_options import MAX_MESH_MESSAGE_BYTES
from services.kit.settings import MIB, ServerSettings

MISSED_HEARTBEATS = 3
_HELD_BYTES = 256 * MIB


@dataclass(frozen=True, slots=True)
class DoorOptions:
    """The server's side.

    `window` calls may be under way on one stream. `frame_bytes` and `frame_replies` bound a frame of several replies; a
    larger reply travels alone, one of more than `reply_bytes` not at all. A stream is not read on while requests of
    `held_bytes` are under way on it or replies of `unsent_bytes` wait to leave. `rotate_seconds` is the longest that a
    stream goes on before the caller is asked to open another. `sampled` is the part of calls without a trace of their
    own that begin one. `log_all` logs every call and not only those that fail.
    """

    window: int = 4096
    heartbeat_seconds: float = 2.0
    frame_bytes: int = MIB
    frame_replies: int = 1024
    reply_bytes: int = 33 * MIB
    held_bytes: int = _HELD_BYTES
    unsent_bytes: int = 64 * MIB
    rotate_seconds: float = 3000.0
    drain_seconds: float = 10.0
    sampled: float = 0.01
    log: bool = True
    log_all: bool = False

    @classmethod
    def of(cls, settings: ServerSettings) -> "DoorOptions":
        """Return what the server's settings say."""
        return cls(
            window=settings.exchange_window,
            heartbeat_seconds=settings.exchange_heartbeat_seconds,
            reply_bytes=settings.max_send_bytes,
            # A single message of the largest size always fits.
            held_bytes=max(_HELD_BYTES, settings.max_receive_bytes),
            rotate_seconds=settings.stream_limit_seconds * 0.9,
            drain_seconds=settings.drain_seconds,
            sampled=settings.exchange_sampling_ratio,
            log=settings.access_log,
            log_all=settings.exchange_access_log,
        )


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The caller's side.

    `frame_bytes` and `frame_calls` bound a frame of several calls; a larger call travels alone, and on a stream of its
    own kind so that small ones do not wait behind it. `waiting_calls` and `waiting_bytes` may wait for a replica: for
    `connect_seconds` while none is connected, for `credit_seconds` while none lets more calls begin; no stream is given
    more while `unsent_bytes` of its calls have not left. A call of more than `call_bytes` is refused. One without side
    effects is sent to at most `attempts` replicas. Names are looked up again every `resolve_seconds`.
    `reply_window` replies of one call may come before its reader has taken them.
    """

    heartbeat_seconds: float = 2.0
    frame_bytes: int = MIB
    frame_calls: int = 1024
    waiting_calls: int = 16384
    waiting_bytes: int = 512 * MIB
    unsent_bytes: int = 8 * MIB
    call_bytes: int = MAX_MESH_MESSAGE_BYTES - MIB
    connect_seconds: float = 3.0
    credit_seconds: float = 10.0
    attempts: int = 3
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 1.0
    resolve_seconds: float = 10.0
    reply_window: int = 64

    @classmethod
    def of(cls, settings: ServerSettings) -> "ClientOptions":
        """Return what the caller's settings say."""
        return cls(heartbeat_seconds=settings.exchange_heartbeat_seconds)
