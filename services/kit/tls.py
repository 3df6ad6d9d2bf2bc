"""TLS of servers and of the channels between services, from the paths in the settings.

With `tls_cert` a server speaks TLS (1.3 where the peer can; gRPC's own floor is 1.2); with `tls_ca` it also demands a
certificate of the mesh from every caller, and channels to other services present ours.
"""

import grpc

from services.kit.settings import ServerSettings


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Return what the server listens with, None for plaintext; OSError when a file cannot be read."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
    if settings.tls_ca is None:
        return grpc.ssl_server_credentials([pair])
    authorities = settings.tls_ca.read_bytes()
    return grpc.ssl_server_credentials([pair], root_certificates=authorities, require_client_auth=True)


def channel_credentials(settings: ServerSettings) -> grpc.ChannelCredentials | None:
    """Return what channels to other services use, None for plaintext; OSError when a file cannot be read."""
    if settings.tls_ca is None:
        return None
    authorities = settings.tls_ca.read_bytes()
    if settings.tls_cert is None or settings.tls_key is None:
        return grpc.ssl_channel_credentials(authorities)
    return grpc.ssl_channel_credentials(authorities, settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
