"""One Envoy and its backends for all tests that do not need settings of their own."""

from collections.abc import Iterator

import pytest

from gateway_envoy.config import StaticFile
from tests.gateway.contract import Messages, write_descriptor_set
from tests.gateway.gateway import Gateway, Workshop
from tests.gateway.tokens import Issuer


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("gateway")
    descriptor_set = write_descriptor_set(folder)
    issuer = Issuer()
    issuer.write_jwks(folder / "user-jwks.json")
    return Workshop(folder, descriptor_set, Messages(descriptor_set), issuer)


@pytest.fixture(scope="session")
def shared_gateway(workshop: Workshop) -> Iterator[Gateway]:
    openapi = workshop.folder / "openapi.json"
    openapi.write_text('{"openapi": "3.1.0"}' + " " * 2000)
    documents = (
        StaticFile("/openapi.json", openapi, "application/json"),
        StaticFile("/candela.binpb", workshop.descriptor_set, "application/octet-stream"),
    )
    with workshop.gateway("user", "recognition", "probe", documents=documents) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """The shared gateway, its backends back to their first behaviour."""
    shared_gateway.reset()
    return shared_gateway
