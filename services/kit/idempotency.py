"""Request ids: who a claim belongs to, what makes two requests the same, and how long an answer is kept.

A claim is found by (tenant, scope, method, request id). The scope is the acting user, or the service that acts for
nobody, so that no caller ever meets another caller's ids. Calls without an identity (registration) share one scope
per method: there the request id alone finds the claim. A stranger who guessed a UUID (122 random bits) would still
need the whole request, password included, to get the reply, because another fingerprint is refused first; the refusal
tells that the id is in use and nothing else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.kit.call import DEFAULT_TENANT, Call
from services.kit.errors import FieldViolation, Internal, InvalidArgument
from services.kit.uow import Replay

RETENTION = timedelta(hours=24)
SECRET_RETENTION = timedelta(minutes=10)
MAX_REQUEST_ID = 64

ResultT = TypeVar("ResultT")
MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class ClaimKey:
    """Where a claim is stored."""

    tenant: str
    scope: str
    method: str
    request_id: str


def claim_key(call: Call) -> ClaimKey | None:
    """Return the key of the call's claim, None when it has no request id; InvalidArgument when that is too long."""
    if not call.request_id:
        return None
    if len(call.request_id) > MAX_REQUEST_ID:
        violation = FieldViolation("request_id", f"has more than {MAX_REQUEST_ID} characters")
        raise InvalidArgument("request_id is too long; use a UUID", violations=[violation])
    who = call.principal
    if who is None:
        return ClaimKey(DEFAULT_TENANT, "", call.method, call.request_id)
    scope = f"u:{who.user}" if who.user else f"s:{who.service}"
    return ClaimKey(who.tenant, scope, call.method, call.request_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyingCall(Call):
    """A call that knows how its result is written down; made by Replies, read by the unit of work."""

    encode: Callable[[object], bytes]


@dataclass(slots=True)
class _Kept:
    """The bytes that the unit of work asked for, so that the first answer and its replays are the same bytes."""

    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[MessageT]):
    """The answer to a call and whether an earlier call made it.

    A stream whose outcome is `replayed` attaches to the job or reply that `message` names instead of starting one.
    """

    message: MessageT
    replayed: bool


class Replies:
    """The api layer's door to use cases that claim request ids. See services/kit/uow.py for an example."""

    async def run(
        self,
        call: Call,
        reply: type[MessageT],
        work: Callable[[Call], Awaitable[ResultT]],
        to_proto: Callable[[ResultT], MessageT],
    ) -> MessageT:
        """Do `work` or return what it returned the first time, byte for byte."""
        return (await self.attach(call, reply, work, to_proto)).message

    async def attach(
        self,
        call: Call,
        reply: type[MessageT],
        work: Callable[[Call], Awaitable[ResultT]],
        to_proto: Callable[[ResultT], MessageT],
    ) -> Outcome[MessageT]:
        """Like `run`, and say whether it was a replay."""
        kept = _Kept()

        def encode(result: object) -> bytes:
            message = to_proto(result)  # type: ignore[arg-type]  # the use case keeps what it returns
            kept.reply = message.SerializeToString(deterministic=True)
            return kept.reply

        try:
            result = await work(_replying(call, encode))
        except Replay as replay:
            return Outcome(reply.FromString(replay.reply), replayed=True)
        message = to_proto(result) if kept.reply is None else reply.FromString(kept.reply)
        return Outcome(message, replayed=False)


def encoder(call: Call) -> Callable[[object], bytes]:
    """Return how the call's result is written down; Internal when no Replies made the call."""
    if isinstance(call, ReplyingCall):
        return call.encode
    raise Internal(f"{call.method} claims a request id outside of Replies.run")


def _replying(call: Call, encode: Callable[[object], bytes]) -> ReplyingCall:
    facts = {fact.name: getattr(call, fact.name) for fact in fields(Call)}
    return ReplyingCall(**facts, encode=encode)
