"""Between the contract's messages and the domain."""

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from candela.user.v1 import session_pb2, user_pb2, user_service_pb2
from services.kit.errors import FieldViolation, InvalidArgument
from services.user.domain.accounts import ProfileChange, Registration, Role, State, User
from services.user.domain.sessions import Session
from services.user.ports import PublicKey
from services.user.usecases.sessions import Grant

_ROLES = {
    Role.FREE: user_pb2.ROLE_FREE,
    Role.PRO: user_pb2.ROLE_PRO,
    Role.ENTERPRISE: user_pb2.ROLE_ENTERPRISE,
    Role.ADMIN: user_pb2.ROLE_ADMIN,
}
_STATES = {State.ACTIVE: user_pb2.User.STATE_ACTIVE, State.SUSPENDED: user_pb2.User.STATE_SUSPENDED}
ROLE_OF = {number: role for role, number in _ROLES.items()}
STATE_OF = {number: state for state, number in _STATES.items()}


def id_of(name: str) -> str:
    """Return the last part of a resource's name; the contract's rules have checked its form."""
    return name.rpartition("/")[2]


def timestamp(moment: datetime) -> Timestamp:
    """Return a moment as the contract writes it."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def moment(message: Message, field: str) -> datetime | None:
    """Return a time of a request, None when it is not set; InvalidArgument for one that no calendar has."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        violation = FieldViolation(field, "must be a time between the years 1 and 9999", rule="timestamp")
        raise InvalidArgument(f"{field} is no time", violations=[violation], metadata={"field": field}) from error


def nothing(_: object) -> Empty:
    """Return the answer of a method that has none."""
    return Empty()


def registration(request: user_service_pb2.RegisterUserRequest) -> Registration:
    """Return what a registration says."""
    return Registration(
        email=request.email,
        phone=request.phone,
        username=request.username,
        display_name=request.display_name,
        password=request.password,
    )


def profile_change(request: user_service_pb2.UpdateUserRequest) -> ProfileChange:
    """Return what an update says."""
    user = request.user
    return ProfileChange(
        email=user.email,
        phone=user.phone,
        username=user.username,
        display_name=user.display_name,
        paths=tuple(request.update_mask.paths),
        etag=user.etag,
    )


def user_message(user: User) -> user_pb2.User:
    """Return an account as its owner and admins see it."""
    return user_pb2.User(
        name=f"users/{user.id}",
        email=user.email,
        phone=user.phone,
        username=user.username,
        display_name=user.display_name,
        role=_ROLES[user.role],
        plan=user.plan,
        state=_STATES[user.state],
        email_verified=user.email_verified,
        phone_verified=user.phone_verified,
        create_time=timestamp(user.create_time),
        update_time=timestamp(user.update_time),
        etag=user.etag,
    )


def session_message(session: Session, current: str) -> session_pb2.Session:
    """Return a session; `current` is the id of the one that the call was made with."""
    return session_pb2.Session(
        name=f"sessions/{session.id}",
        user=f"users/{session.user}",
        device=session.device,
        create_time=timestamp(session.create_time),
        last_refresh_time=timestamp(session.last_refresh_time),
        expire_time=timestamp(session.expire_time),
        current=session.id == current,
    )


def grant_message(grant: Grant) -> session_pb2.SessionGrant:
    """Return a session with its new tokens."""
    return session_pb2.SessionGrant(
        session=session_message(grant.session, grant.session.id),
        access_token=grant.access.text,
        access_token_expire_time=timestamp(grant.access.expire_time),
        refresh_token=grant.refresh_token,
        refresh_token_expire_time=timestamp(grant.refresh_expire_time),
        token_type="Bearer",  # noqa: S106 - the name of a scheme
    )


def key_set_message(keys: Sequence[PublicKey]) -> session_pb2.JsonWebKeySet:
    """Return public keys as a key set."""
    return session_pb2.JsonWebKeySet(
        keys=[
            session_pb2.JsonWebKey(kty="OKP", crv="Ed25519", x=key.x, kid=key.kid, alg="EdDSA", use="sig")
            for key in keys
        ]
    )
