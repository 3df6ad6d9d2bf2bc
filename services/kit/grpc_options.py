"""gRPC channel arguments, server side and client side, that have to fit each other."""

from services.kit.settings import MIB, ServerSettings

Options = list[tuple[str, int | str]]
_PING_SECONDS = 20  # callers ping an idle connection this often; servers allow twice that
_MAX_METADATA_BYTES = 32 * 1024
MAX_MESH_MESSAGE_BYTES = 256 * MIB  # between services; what a server takes in is its own setting


def server_options(settings: ServerSettings) -> Options:
    """Return a server's channel arguments.

    Ports are not shared (SO_REUSEPORT is gRPC's default): a second process on a busy port must fail, not take half of
    the calls.
    """
    options: Options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_receive_bytes),
        ("grpc.max_send_message_length", settings.max_send_bytes),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.keepalive_time_ms", 2 * _PING_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", _PING_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", _PING_SECONDS * 1000 // 2),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if settings.max_connection_age_seconds:
        options.append(("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)))
        options.append(("grpc.max_connection_age_grace_ms", int(settings.drain_seconds * 1000)))
    return options


def client_options(service_config: str) -> Options:
    """Return the arguments of a channel to another service.

    gRPC's own retries stay on: without a retry policy they only re-send what the other side never saw. A lost server is
    looked for again quickly, because processes come back within seconds.
    """
    return [
        ("grpc.service_config", service_config),
        ("grpc.max_receive_message_length", MAX_MESH_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESH_MESSAGE_BYTES),
        ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ("grpc.keepalive_time_ms", _PING_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", _PING_SECONDS * 500),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
