"""What `authorization` may hold: tokens, API keys, nonsense."""

from pathlib import Path

import grpc
import pytest

from services.kit.access import Access, Level
from services.kit.call import Principal
from services.kit.errors import Unauthenticated
from services.kit.pipeline.authentication import Authenticator
from tests.support.grpc_server import MeshKeys, bearer, running_server
from tests.unit.kit_grpc.echo import Echo, binding, pb_grpc
from tests.unit.kit_grpc.shapes import invoke

SIGNED_IN = Access(Level.AUTHENTICATED)


class Keys:
    """An API key port that knows one key."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, str, str]] = []

    async def principal_of(self, key: str) -> Principal:
        if key != "ck_good":
            raise Unauthenticated("no such key")
        return Principal(tenant="default", user="u1", api_key="k1")

    async def count(self, caller: Principal) -> None:
        raise AssertionError("a refused call is not counted")

    def refused(self, caller: Principal, method: str, reason: str) -> None:
        self.refusals.append((caller.api_key, method, reason))


@pytest.fixture
def keys(tmp_path: Path) -> MeshKeys:
    return MeshKeys(tmp_path / "keys")


@pytest.mark.parametrize(
    "authorization", ["Basic dTpw", "Bearer", "Bearer ", "bearer", "x", "Bearer a b", "Bearer ck_"]
)
async def test_anything_else_is_refused(keys: MeshKeys, authorization: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        await Authenticator(keys.verifier("user")).authenticate(SIGNED_IN, authorization)
    assert refused.value.reason == "TOKEN_INVALID"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_schemes_case_does_not_matter(keys: MeshKeys, scheme: str) -> None:
    token = keys.as_user("u3")[0][1].split()[1]
    principal = await Authenticator(keys.verifier("user")).authenticate(SIGNED_IN, f"{scheme} {token}")
    assert principal is not None
    assert principal.user == "u3"


async def test_no_header_but_authorization_says_who_calls() -> None:
    servicer = Echo()
    forged = (("x-user-id", "root"), ("x-tenant", "other"), ("candela-user", "root"), ("x-role", "ADMIN"))
    async with running_server(binding(servicer)) as server:
        stub = pb_grpc.EchoServiceStub(server.channel)
        alone = await invoke(stub, "Unary", "x", metadata=forged)
        await invoke(stub, "Unary", "x", metadata=(*forged, *server.as_user("u1")))
    assert alone.code is grpc.StatusCode.UNAUTHENTICATED
    seen = servicer.calls[0].caller
    assert (seen.user, seen.tenant, seen.role) == ("u1", "default", "FREE")


async def test_api_keys_are_asked_for_where_there_is_someone_to_ask() -> None:
    keys = Keys()
    async with running_server(binding(Echo()), api_keys=keys) as server:
        stub = pb_grpc.EchoServiceStub(server.channel)
        good = await invoke(stub, "Unary", "x", metadata=bearer("ck_good"))
        bad = await invoke(stub, "Unary", "x", metadata=bearer("ck_bad"))
    assert good.code is grpc.StatusCode.PERMISSION_DENIED  # known, and no scope names a method of the test's contract
    assert keys.refusals == [("k1", "kit_testing.v1.EchoService/Unary", "PERMISSION_DENIED")]
    assert bad.code is grpc.StatusCode.UNAUTHENTICATED


async def test_without_anyone_to_ask_no_api_key_holds(keys: MeshKeys) -> None:
    with pytest.raises(Unauthenticated, match="not accepted"):
        await Authenticator(keys.verifier("user")).authenticate(SIGNED_IN, "Bearer ck_good")
