"""Who may call what: the table of roles, the levels, and default deny."""

from typing import Any

import grpc
import pytest

from services.kit.access import PERMISSIONS, ROLES, Access, Level, check, permissions_of
from services.kit.call import Principal
from services.kit.errors import PermissionDenied, Unauthenticated
from services.kit.pipeline.methods import Methods
from services.kit.server import Binding, StartError
from tests.support.grpc_server import running_server
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.echo import pb, pb_grpc
from tests.unit.kit_grpc.shapes import invoke

USER = Principal(tenant="default", user="u1", session="s1", role="FREE", permissions=permissions_of("FREE"))
ADMIN = Principal(tenant="default", user="u2", session="s2", role="ADMIN", permissions=permissions_of("ADMIN"))
SERVICE = Principal(tenant="default", service="chat")
ACTING = Principal(tenant="default", service="chat", user="u1")


def test_the_roles_are_those_of_the_requirements() -> None:
    table = """
    FREE       | read:user |            |            |             | generate:image |
    PRO        | read:user | write:user |            |             | generate:image | manage:api_config
    ENTERPRISE | read:user | write:user |            |             | generate:image | manage:api_config
    ADMIN      | read:user | write:user | read:admin | write:admin | generate:image | manage:api_config
    """
    rows = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    assert {role: frozenset(filter(None, cells)) for role, *cells in rows} == ROLES
    assert ROLES["ADMIN"] == PERMISSIONS


def test_an_unknown_role_may_do_nothing() -> None:
    assert permissions_of("ROOT") == frozenset()


@pytest.mark.parametrize(
    ("access", "admitted"),
    [
        (Access(Level.PUBLIC), {"nobody", "user", "admin", "service", "acting"}),
        (Access(Level.AUTHENTICATED), {"user", "admin", "acting"}),
        (Access(Level.PERMISSION, "read:admin"), {"admin"}),
        (Access(Level.PERMISSION, "generate:image"), {"user", "admin"}),
        (Access(Level.SERVICE), {"service", "acting"}),
        (None, set()),
    ],
)
def test_each_level_admits_exactly_its_own(access: Access | None, admitted: set[str]) -> None:
    callers = {"nobody": None, "user": USER, "admin": ADMIN, "service": SERVICE, "acting": ACTING}
    for name, principal in callers.items():
        if name in admitted:
            check(access, principal)
        else:
            with pytest.raises((PermissionDenied, Unauthenticated)):
                check(access, principal)


def test_a_refused_permission_is_named() -> None:
    with pytest.raises(PermissionDenied) as refused:
        check(Access(Level.PERMISSION, "read:admin"), USER)
    assert refused.value.metadata == {"permission": "read:admin"}


@pytest.mark.parametrize(
    ("level", "permission"), [(Level.PERMISSION, ""), (Level.PUBLIC, "read:user"), (Level.PERMISSION, "fly")]
)
def test_a_rule_that_makes_no_sense_cannot_be_made(level: Level, permission: str) -> None:
    with pytest.raises(ValueError, match="permission"):
        Access(level, permission)


async def test_a_public_method_does_not_look_at_the_token(echo: EchoServer) -> None:
    seen = await invoke(echo.stub, "Open", "hello", metadata=(("authorization", "Bearer nonsense"),))
    assert seen.code is grpc.StatusCode.OK
    assert echo.servicer.calls[0].principal is None


@pytest.mark.parametrize(
    ("method", "caller", "code"),
    [
        ("Internal", "user", grpc.StatusCode.PERMISSION_DENIED),
        ("Internal", "service", grpc.StatusCode.OK),
        ("Admin", "user", grpc.StatusCode.PERMISSION_DENIED),
        ("Admin", "admin", grpc.StatusCode.OK),
        ("Admin", "service", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_levels_hold_on_the_wire(echo: EchoServer, method: str, caller: str, code: grpc.StatusCode) -> None:
    metadata = {
        "user": echo.server.as_user(),
        "admin": echo.server.as_user(role="ADMIN"),
        "service": echo.server.as_service("chat"),
    }[caller]
    assert (await invoke(echo.stub, method, "hello", metadata=metadata)).code is code


class Forgotten:
    async def Forgotten(self, request: Any, context: Any) -> Any:
        raise AssertionError("must not be reached")


async def test_a_server_with_a_method_without_a_rule_does_not_start() -> None:
    with pytest.raises(StartError, match=r"kit_testing\.v1\.ForgottenService/Forgotten"):
        async with running_server(Binding(pb_grpc.add_ForgottenServiceServicer_to_server, Forgotten())):
            pytest.fail("it started")


async def test_a_contract_of_others_gets_its_rule_from_its_binding() -> None:
    class Foreign:
        async def Forgotten(self, request: Any, context: Any) -> Any:
            return pb.EchoResponse(text=request.text)

    binding = Binding(pb_grpc.add_ForgottenServiceServicer_to_server, Foreign(), access=Access(Level.SERVICE))
    async with running_server(binding) as server:
        stub = pb_grpc.ForgottenServiceStub(server.channel)
        refused = await invoke(stub, "Forgotten", "x", metadata=server.as_user())
        admitted = await invoke(stub, "Forgotten", "x", metadata=server.as_service("chat"))
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert admitted.code is grpc.StatusCode.OK


def test_facts_come_from_the_descriptor() -> None:
    methods = Methods()
    unary = methods.get("/kit_testing.v1.EchoService/Unary")
    assert (unary.has_request_id, unary.read_only, unary.terminal) == (True, False, None)
    assert methods.get("/kit_testing.v1.EchoService/ServerStream").read_only
    events = methods.get("/kit_testing.v1.EchoService/Events")
    assert events.terminal is not None
    assert (events.terminal.oneof, events.terminal.seq) == ("event", "seq")
    assert methods.get("/kit_testing.v1.ForgottenService/Forgotten").access is None
    assert methods.get("/no.such.Service/Method").access is None
