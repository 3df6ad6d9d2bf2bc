"""The whole service as its process runs it: its composition root, the kit's pipeline, real Redis, a real channel."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import jwt
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from prometheus_client import REGISTRY
from pydantic import SecretStr
from redis.asyncio import Redis

import services.user
from candela.user.v1 import session_pb2, session_service_pb2, user_pb2, user_service_pb2
from candela.user.v1.session_service_pb2_grpc import SessionServiceStub
from candela.user.v1.user_service_pb2_grpc import UserServiceStub
from observability.telemetry import start_telemetry
from services.kit.bootstrap import running
from services.kit.errors import CandelaError
from services.kit.grpc_status import from_rpc_error
from services.kit.keys import SigningKey
from services.kit.migrations import upgrade
from services.kit.revocation import KEY
from services.user.main.compose import ENVELOPE_KEY, compose
from services.user.settings import UserSettings
from tests.support.eventually import eventually
from tests.support.grpc_server import MeshKeys, Metadata, bearer

if TYPE_CHECKING:  # these two exist in the type stubs only
    from candela.user.v1.session_service_pb2_grpc import SessionServiceAsyncStub
    from candela.user.v1.user_service_pb2_grpc import UserServiceAsyncStub

MIGRATIONS = Path(services.user.__file__).parent / "migrations"
PASSWORD = "correct horse battery staple"


@dataclass
class Client:
    """Stubs of the running service and the keys that it trusts."""

    users: "UserServiceAsyncStub"
    sessions: "SessionServiceAsyncStub"
    keys: MeshKeys

    async def register(self, email: str = "ada@example.com", **fields: str) -> user_pb2.User:
        request = user_service_pb2.RegisterUserRequest(email=email, password=PASSWORD, **fields)
        return await self.users.RegisterUser(request)

    async def log_in(self, name: str = "ada@example.com", password: str = PASSWORD) -> session_pb2.SessionGrant:
        request = session_service_pb2.CreateSessionRequest(identifier=name, password=password, device="phone")
        return await self.sessions.CreateSession(request)

    async def signed_in(
        self, email: str = "ada@example.com"
    ) -> tuple[user_pb2.User, session_pb2.SessionGrant, Metadata]:
        user = await self.register(email)
        grant = await self.log_in(email)
        return user, grant, bearer(grant.access_token)

    async def log_out(self, metadata: Metadata) -> None:
        request = session_service_pb2.DeleteSessionRequest(name="sessions/current")
        await self.sessions.DeleteSession(request, metadata=metadata)

    async def me(self, metadata: Metadata) -> user_pb2.User:
        return await self.users.GetUser(user_service_pb2.GetUserRequest(name="users/me"), metadata=metadata)


@pytest_asyncio.fixture
async def client(tmp_path: Path, redis_url: str) -> AsyncIterator[Client]:
    keys = MeshKeys(tmp_path / "keys")
    (tmp_path / "keys" / ENVELOPE_KEY).write_bytes(b"e" * 32)
    settings = UserSettings(
        data_dir=tmp_path,
        listen="127.0.0.1:0",
        metrics_port=0,
        redis_url=SecretStr(redis_url),
        user_bcrypt_cost=4,
        drain_seconds=1,
    )
    await upgrade(settings.database_url, MIGRATIONS)
    telemetry = start_telemetry("user")
    async with running(settings, compose, telemetry) as server, grpc.aio.insecure_channel(server.address) as channel:
        yield Client(UserServiceStub(channel), SessionServiceStub(channel), keys)
    telemetry.close()


@dataclass(frozen=True)
class Refused:
    """What a refused call says: the code on the wire and the rest as a typed error."""

    code: str
    error: CandelaError

    @property
    def reason(self) -> str:
        return self.error.reason

    @property
    def fields(self) -> list[str]:
        return [violation.field for violation in self.error.violations]


async def refused(call: Awaitable[object]) -> Refused:
    """Await a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return Refused(failed.value.code().name, from_rpc_error(failed.value))


async def test_from_registration_to_erasure(client: Client) -> None:
    user, grant, mine = await client.signed_in()
    assert user.name.startswith("users/")
    assert (user.email, user.role, user.plan, user.state) == ("ada@example.com", user_pb2.ROLE_FREE, "free", 1)
    assert not user.HasField("credits")
    assert (grant.token_type, grant.session.user, grant.session.current) == ("Bearer", user.name, True)
    assert await client.me(mine) == user
    update = user_service_pb2.UpdateUserRequest(
        user=user_pb2.User(name=user.name, display_name="Ada", etag=user.etag),
        update_mask=FieldMask(paths=["display_name"]),
    )
    changed = await client.users.UpdateUser(update, metadata=mine)
    assert changed.display_name == "Ada"
    stale = await refused(client.users.UpdateUser(update, metadata=mine))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    await client.users.ChangePassword(
        user_service_pb2.ChangePasswordRequest(name="users/me", current_password=PASSWORD, new_password="x" * 72),
        metadata=mine,
    )
    await client.log_in(password="x" * 72)
    await client.users.DeleteUser(user_service_pb2.DeleteUserRequest(name="users/me"), metadata=mine)
    gone = await refused(client.me(mine))
    assert (gone.code, gone.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    assert (await refused(client.log_in(password="x" * 72))).reason == "CREDENTIALS_INVALID"


async def test_sessions_over_the_wire(client: Client) -> None:
    _, first, mine = await client.signed_in()
    second = await client.log_in()
    listed = await client.sessions.ListSessions(session_service_pb2.ListSessionsRequest(page_size=1), metadata=mine)
    rest = await client.sessions.ListSessions(
        session_service_pb2.ListSessionsRequest(page_size=1, page_token=listed.next_page_token), metadata=mine
    )
    found = [*listed.sessions, *rest.sessions]
    assert [(session.name, session.current) for session in found] == [
        (second.session.name, False),
        (first.session.name, True),
    ]
    assert rest.next_page_token == ""
    request = session_service_pb2.RefreshSessionRequest(refresh_token=second.refresh_token)
    refreshed = await client.sessions.RefreshSession(request)
    assert refreshed.session.name == second.session.name
    await client.sessions.DeleteSession(
        session_service_pb2.DeleteSessionRequest(name=second.session.name), metadata=mine
    )
    for token in (second.access_token, refreshed.access_token):
        assert (await refused(client.me(bearer(token)))).reason == "SESSION_REVOKED"
    ended = await refused(client.sessions.RefreshSession(request))
    assert (ended.code, ended.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")
    await client.log_out(mine)
    assert (await refused(client.me(mine))).reason == "SESSION_REVOKED"


async def test_the_key_set_checks_the_tokens(client: Client) -> None:
    _, grant, _ = await client.signed_in()
    keys = await client.sessions.GetJsonWebKeySet(session_service_pb2.GetJsonWebKeySetRequest())
    [key] = keys.keys
    document = {"kty": key.kty, "crv": key.crv, "x": key.x, "kid": key.kid, "alg": key.alg, "use": key.use}
    public = jwt.PyJWK.from_json(json.dumps(document))
    claims = jwt.decode(grant.access_token, public.key, algorithms=["EdDSA"], audience="candela", issuer="candela")
    assert claims["exp"] == grant.access_token_expire_time.seconds
    assert f"sessions/{claims['sid']}" == grant.session.name


async def test_tokens_that_do_not_hold(client: Client) -> None:
    user, grant, _ = await client.signed_in()
    claims = jwt.decode(grant.access_token, options={"verify_signature": False})
    key, mesh, stranger = client.keys.user, client.keys.mesh, SigningKey.generate()

    def forged(changes: dict[str, object], signer: SigningKey = key, kid: str = key.kid) -> str:
        return jwt.encode(claims | changes, signer.private, algorithm="EdDSA", headers={"kid": kid})

    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": key.kid})
    symmetric = jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": key.kid})
    invalid = [
        "nonsense", "a.b.c", grant.access_token[:-4], grant.access_token + "x", grant.refresh_token, unsigned,
        symmetric, forged({"role": "ADMIN"}, stranger), forged({}, stranger, stranger.kid), forged({}, mesh, mesh.kid),
        forged({"aud": "inference"}), forged({"iss": "candela-mesh"}), forged({"sub": ""}), forged({"sid": 7}),
    ]  # fmt: skip
    for token in invalid:
        answer = await refused(client.me(bearer(token)))
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID"), token
    expired = await refused(client.me(bearer(forged({"iat": claims["iat"] - 2000, "exp": claims["iat"] - 1000}))))
    assert expired.reason == "TOKEN_EXPIRED"
    assert (await refused(client.me(()))).reason == "TOKEN_MISSING"
    service = client.keys.as_service("payment", "user")
    assert (await refused(client.me(service))).code == "PERMISSION_DENIED"
    other_tenant = client.keys.as_user(user.name.removeprefix("users/"), role="ADMIN", tenant="other")
    assert (await refused(client.me(other_tenant))).code == "NOT_FOUND"


async def test_who_sees_whom(client: Client) -> None:
    ada, _, _ = await client.signed_in()
    eve, _, hers = await client.signed_in("eve@example.com")
    request = user_service_pb2.GetUserRequest(name=ada.name)
    foreign = await refused(client.users.GetUser(request, metadata=hers))
    nothing = await refused(client.users.GetUser(user_service_pb2.GetUserRequest(name="users/nobody"), metadata=hers))
    assert (foreign.code, foreign.error.message, foreign.error.metadata) == (
        nothing.code, nothing.error.message, nothing.error.metadata,
    )  # fmt: skip
    assert foreign.code == "NOT_FOUND"
    admin = client.keys.as_user(eve.name.removeprefix("users/"), role="ADMIN")
    assert await client.users.GetUser(request, metadata=admin) == ada


async def test_what_the_contract_refuses(client: Client) -> None:
    user, _, mine = await client.signed_in()
    register = user_service_pb2.RegisterUserRequest
    update, listing = user_service_pb2.UpdateUserRequest, session_service_pb2.ListSessionsRequest
    cases: list[tuple[Awaitable[Any], list[str]]] = [
        (client.users.RegisterUser(register(password=PASSWORD)), []),
        (client.users.RegisterUser(register(email="nonsense", password=PASSWORD)), ["email"]),
        (client.users.RegisterUser(register(email="a@b.c", password="short")), ["password"]),
        (client.users.RegisterUser(register(email="a@b.c", password="é" * 37)), ["password"]),
        (client.users.RegisterUser(register(email="a@b.c", password=PASSWORD, display_name="a\0")), ["display_name"]),
        (_updated(client, mine, update(user=user_pb2.User(name=user.name, email="x"))), ["user.email"]),
        (_updated(client, mine, update(user=user_pb2.User(email="a@b.co"))), []),
        (_updated(client, mine, update(user=user_pb2.User(name=user.name)), "role"), ["update_mask"]),
        (_updated(client, mine, update(user=user_pb2.User(name=user.name)), ""), ["update_mask"]),
        (client.sessions.ListSessions(listing(page_size=-1), metadata=mine), ["page_size"]),
        (client.sessions.ListSessions(listing(page_token="x"), metadata=mine), ["page_token"]),
    ]  # fmt: skip
    for call, fields in cases:
        answer = await refused(call)
        assert answer.code == "INVALID_ARGUMENT"
        if fields:
            assert answer.fields == fields


def _updated(
    client: Client, metadata: Metadata, request: user_service_pb2.UpdateUserRequest, *paths: str
) -> grpc.aio.UnaryUnaryCall[user_service_pb2.UpdateUserRequest, user_pb2.User]:
    request.update_mask.CopyFrom(FieldMask(paths=[path for path in paths or ("email",) if path]))
    return client.users.UpdateUser(request, metadata=metadata)


async def test_a_taken_address_says_so(client: Client) -> None:
    await client.register()
    answer = await refused(client.register("ADA@example.com"))
    assert (answer.code, answer.reason, answer.error.metadata) == (
        "ALREADY_EXISTS", "ALREADY_EXISTS", {"field": "email"},
    )  # fmt: skip


async def test_a_repeated_registration_is_the_same_answer(client: Client) -> None:
    request_id = str(uuid.uuid4())
    first = await client.register(request_id=request_id)
    assert await client.register(request_id=request_id) == first
    answer = await refused(client.register("eve@example.com", request_id=request_id))
    assert answer.reason == "REQUEST_ID_REUSED"


async def test_a_throttled_log_in_says_when_to_come_back(client: Client) -> None:
    await client.register()
    for _ in range(5):
        assert (await refused(client.log_in(password="wrong"))).reason == "CREDENTIALS_INVALID"
    answer = await refused(client.log_in())
    assert (answer.code, answer.reason) == ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
    assert answer.error.retry_after == pytest.approx(30, abs=5)


async def test_a_revocation_is_healed_when_redis_lost_it(client: Client, redis: Redis) -> None:
    _, grant, mine = await client.signed_in()
    await client.log_out(mine)
    await redis.flushall()

    member = f"s:{grant.session.name.removeprefix('sessions/')}"

    async def healed() -> list[Any]:
        return [score for score in [await redis.zscore(KEY, member)] if score is not None]

    found: list[Any] = await eventually(healed, timeout=3.0)
    assert len(found) == 1


async def test_database_connections_are_shown(client: Client) -> None:
    await client.signed_in()
    assert REGISTRY.get_sample_value("database_connections_active") == 0
