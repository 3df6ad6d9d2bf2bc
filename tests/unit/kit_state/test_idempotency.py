"""Request ids on every database: one effect, the same bytes, no traces of what failed."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from sqlalchemy import func, select

from services.kit.call import Call, Principal
from services.kit.clock import ManualClock
from services.kit.errors import AlreadyExists, Internal, InvalidArgument
from services.kit.idempotency_sql import Claims, Swept
from services.kit.uow import Replay
from services.kit.uow_sql import SqlUnits
from tests.unit.kit_state.accounts import CLAIMS, Bank, BankTx, anonymous, deposit_call

ID = "5f0c8b0e-7a52-4f0e-9a3b-0d6c1f5e2a11"


def _text(value: str) -> StringValue:
    return StringValue(value=value)


async def claims_stored(bank: Bank) -> int:
    async with bank.units.read() as tx:
        return (await tx.session.execute(select(func.count()).select_from(CLAIMS))).scalar_one()


async def stored_reply(bank: Bank) -> bytes | None:
    async with bank.units.read() as tx:
        reply: bytes | None = (await tx.session.execute(select(CLAIMS.c.reply))).scalar_one()
    return reply


async def test_100_identical_requests_at_once_have_one_effect_and_one_answer(bank: Bank) -> None:
    outcomes = await asyncio.gather(*(bank.answer(deposit_call(ID)) for _ in range(100)))
    assert await bank.balance() == 1
    assert {outcome.message.SerializeToString() for outcome in outcomes} == {b"\n\tbalance 1"}
    assert sum(outcome.replayed for outcome in outcomes) == 99


async def test_a_replay_is_the_first_answer_whatever_happened_since(bank: Bank) -> None:
    first = await bank.answer(deposit_call(ID))
    await bank.answer(deposit_call("another"))
    again = await bank.answer(deposit_call(ID))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.message == first.message
    assert await bank.balance() == 2


async def test_the_same_id_for_another_request_is_refused(bank: Bank) -> None:
    await bank.answer(deposit_call(ID))
    with pytest.raises(AlreadyExists) as caught:
        await bank.answer(deposit_call(ID, body=b"deposit 2"))
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert await bank.balance() == 1


@pytest.mark.parametrize(
    "other",
    [
        deposit_call(ID, principal=Principal(tenant="default", user="bob")),
        deposit_call(ID, principal=Principal(tenant="other", user="ada")),
        deposit_call(ID, principal=Principal(tenant="default", service="ada")),
        anonymous(deposit_call(ID)),
        replace(deposit_call(ID), method="/bank/Withdraw"),
        deposit_call("another"),
    ],
    ids=["user", "tenant", "service", "nobody", "method", "id"],
)
async def test_ids_of_others_do_not_meet(bank: Bank, other: Call) -> None:
    await bank.answer(deposit_call(ID))
    assert not (await bank.answer(other)).replayed
    assert await bank.balance() == 2


async def test_calls_without_identity_are_replayed_too(bank: Bank) -> None:
    call = anonymous(deposit_call(ID))
    assert not (await bank.answer(call)).replayed
    assert (await bank.answer(call)).replayed


async def test_calls_without_an_id_are_done_every_time(bank: Bank) -> None:
    await bank.answer(deposit_call(""))
    await bank.answer(deposit_call(""))
    assert await bank.balance() == 2
    assert await claims_stored(bank) == 0


async def test_a_failed_call_leaves_no_claim_and_may_be_retried(bank: Bank) -> None:
    async def crash(call: Call) -> str:
        async with bank.units.write(call) as tx:
            await tx.accounts.set_balance("a", 7)
            tx.reply("never seen")
            raise RuntimeError("the process dies here")

    with pytest.raises(RuntimeError):
        await bank.replies.run(deposit_call(ID), StringValue, crash, _text)
    assert (await claims_stored(bank), await bank.balance()) == (0, 0)
    assert not (await bank.answer(deposit_call(ID))).replayed
    assert await bank.balance() == 1


async def test_whoever_waited_for_a_failed_first_becomes_the_first(bank: Bank) -> None:
    inside, fail = asyncio.Event(), asyncio.Event()

    async def first(call: Call) -> str:
        async with bank.units.write(call) as tx:
            await tx.accounts.set_balance("a", 7)
            inside.set()
            await fail.wait()
            raise RuntimeError("rolled back")

    failing = asyncio.create_task(bank.replies.run(deposit_call(ID), StringValue, first, _text))
    await inside.wait()
    waiting = asyncio.create_task(bank.answer(deposit_call(ID)))
    assert await asyncio.wait({waiting}, timeout=0.1) == (set(), {waiting})  # it gets as far as the database lets it
    fail.set()
    with pytest.raises(RuntimeError):
        await failing
    assert not (await waiting).replayed
    assert await bank.balance() == 1


async def test_a_block_that_keeps_no_reply_does_not_commit(bank: Bank) -> None:
    async def forgetful(call: Call) -> str:
        async with bank.units.write(call) as tx:
            await tx.accounts.set_balance("a", 7)
        return "done"

    with pytest.raises(Internal, match="kept no reply"):
        await bank.replies.run(deposit_call(ID), StringValue, forgetful, _text)
    assert (await claims_stored(bank), await bank.balance()) == (0, 0)


async def test_a_claim_outside_of_replies_is_refused_before_anything_is_done(bank: Bank) -> None:
    with pytest.raises(Internal, match="outside of Replies"):
        await bank.deposit(deposit_call(ID))
    assert await bank.balance() == 0


async def test_a_secret_reply_is_not_readable_and_lives_ten_minutes(bank: Bank) -> None:
    await bank.answer(deposit_call(ID), secret=True)
    stored = await stored_reply(bank)
    assert stored is not None
    assert b"balance" not in stored
    bank.clock.advance(timedelta(minutes=9, seconds=59))
    assert (await bank.answer(deposit_call(ID))).message.value == "balance 1"
    bank.clock.advance(timedelta(seconds=1))
    for swept in (Swept(0, 0), Swept(secrets=1, claims=0)):
        with pytest.raises(AlreadyExists) as caught:
            await bank.answer(deposit_call(ID))
        assert caught.value.reason == "REPLY_EXPIRED"
        if swept.secrets:
            assert await bank.units.sweep() == swept
            assert await stored_reply(bank) is None
    assert await bank.balance() == 1


async def test_claims_are_kept_for_a_day_and_then_swept(bank: Bank) -> None:
    await bank.answer(deposit_call(ID))
    bank.clock.advance(timedelta(hours=23, minutes=59))
    assert await bank.units.sweep() == Swept(0, 0)
    assert (await bank.answer(deposit_call(ID))).replayed
    bank.clock.advance(timedelta(minutes=1))
    assert await bank.units.sweep() == Swept(0, claims=1)


async def test_erasing_a_user_forgets_the_replies_that_show_him(bank: Bank) -> None:
    async def register(call: Call) -> str:
        return await bank.deposit(call, owner="ada")

    await bank.answer(deposit_call("mine"))
    await bank.replies.run(anonymous(deposit_call("registration")), StringValue, register, _text)
    await bank.answer(deposit_call("hers", principal=Principal(tenant="default", user="bob")))

    async def erase(call: Call) -> str:
        async with bank.units.write(call) as tx:
            assert await tx.forget_replies("default", "ada") == 2
            tx.reply("erased")
        return "erased"

    await bank.replies.run(deposit_call("erasure"), StringValue, erase, _text)
    assert await claims_stored(bank) == 2


async def test_an_early_check_finds_what_was_answered_and_claims_nothing(bank: Bank) -> None:
    await bank.units.check_replay(deposit_call(ID))
    assert await claims_stored(bank) == 0
    await bank.answer(deposit_call(ID))
    with pytest.raises(Replay):
        await bank.units.check_replay(deposit_call(ID))
    with pytest.raises(AlreadyExists):
        await bank.units.check_replay(deposit_call(ID, body=b"deposit 2"))
    await bank.units.check_replay(deposit_call(""))


async def test_a_service_without_an_envelope_keeps_no_secrets(bank: Bank) -> None:
    bank.units = SqlUnits(bank.database, BankTx, Claims(CLAIMS, bank.clock))
    with pytest.raises(Internal, match="envelope"):
        await bank.answer(deposit_call(ID), secret=True)
    assert await bank.balance() == 0


async def test_an_id_that_is_no_id_is_refused(bank: Bank) -> None:
    with pytest.raises(InvalidArgument):
        await bank.answer(deposit_call("x" * 65))
    assert await bank.balance() == 0


def test_replies_are_kept_for_24_hours_at_least() -> None:
    with pytest.raises(ValueError, match="24 hours"):
        Claims(CLAIMS, ManualClock(), retention=timedelta(hours=23))
