"""API keys as any service sees them: asked for once, remembered for a while, never after their end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from services.kit.api_keys import CachedApiKeys, KnownKey
from services.kit.call import Principal
from services.kit.clock import ManualClock
from services.kit.errors import Internal, ResourceExhausted, Unauthenticated, Unavailable
from services.kit.key_limits import MinuteLimits
from services.kit.key_reports import KeyReports, RefusedKey, UsedKey
from services.kit.key_text import digest_of, key_text
from services.kit.revocation import Revocations, key_member, user_member
from tests.support.eventually import eventually

KEY, OTHER = key_text(b"a" * 32), key_text(b"b" * 32)
ADA = Principal("default", user="ada", api_key="k1", role="FREE", scopes=frozenset({"FILES"}))


@dataclass
class Source:
    """A user service that knows some keys, may be away, and answers when it is let."""

    known: dict[bytes, KnownKey] = field(default_factory=dict)
    asked: int = 0
    away: Exception | None = None
    gate: asyncio.Event | None = None
    uses: list[UsedKey] = field(default_factory=list)
    refusals: list[RefusedKey] = field(default_factory=list)

    async def look_up(self, digest: bytes) -> KnownKey | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away is not None:
            raise self.away
        return self.known.get(digest)

    async def report(self, uses: Sequence[UsedKey], refusals: Sequence[RefusedKey]) -> None:
        if self.away is not None:
            raise self.away
        self.uses += uses
        self.refusals += refusals


@dataclass
class Bench:
    """One process's view of keys, over a Redis, with a clock that tests turn."""

    keys: CachedApiKeys
    source: Source
    revocations: Revocations
    clock: ManualClock
    reports: KeyReports

    async def later(self, seconds: float) -> None:
        """Let time pass; Redis is read again, as it is all the time."""
        self.clock.advance(seconds)
        await self.revocations.refresh()

    async def settled(self) -> None:
        """Let what runs in the background come to its end."""
        await eventually(lambda: not any(task.get_name() == "API key" for task in asyncio.all_tasks()))


@pytest_asyncio.fixture
async def bench(redis: "Redis") -> Bench:
    clock, source = ManualClock(), Source({digest_of(KEY): KnownKey(ADA)})
    revocations = Revocations(redis, clock=clock)
    await revocations.refresh()
    reports = KeyReports(source, clock)
    keys = CachedApiKeys(source, revocations, MinuteLimits(redis, clock), reports, clock)
    return Bench(keys, source, revocations, clock, reports)


async def reason(keys: CachedApiKeys, key: str) -> str:
    with pytest.raises(Unauthenticated) as refused:
        await keys.principal_of(key)
    return refused.value.reason


async def test_a_key_is_asked_for_once_and_remembered(bench: Bench) -> None:
    for _ in range(3):
        assert await bench.keys.principal_of(KEY) == ADA
    assert bench.source.asked == 1


async def test_a_mistyped_key_is_refused_without_asking(bench: Bench) -> None:
    assert await reason(bench.keys, KEY[:-1] + ("0" if KEY[-1] != "0" else "1")) == "TOKEN_INVALID"
    assert bench.source.asked == 0


async def test_an_unknown_key_is_asked_for_now_and_then(bench: Bench) -> None:
    for _ in range(3):
        assert await reason(bench.keys, OTHER) == "TOKEN_INVALID"
    assert bench.source.asked == 1
    await bench.later(11)
    bench.source.known[digest_of(OTHER)] = KnownKey(ADA)
    assert await bench.keys.principal_of(OTHER) == ADA


async def test_many_who_ask_at_once_ask_once_and_one_who_goes_leaves_the_others(bench: Bench) -> None:
    bench.source.gate = asyncio.Event()
    waiting = [asyncio.create_task(bench.keys.principal_of(KEY)) for _ in range(20)]
    await eventually(lambda: bench.source.asked)
    waiting[0].cancel()
    bench.source.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [ADA] * 19
    assert bench.source.asked == 1


async def test_a_flood_of_made_up_keys_is_bounded_and_does_not_forget_real_ones(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    for number in range(4200):
        await reason(bench.keys, key_text(number.to_bytes(32, "big")))
    asked = bench.source.asked
    assert await bench.keys.principal_of(KEY) == ADA
    assert bench.source.asked == asked
    bench.source.gate = asyncio.Event()
    flood = [
        asyncio.create_task(bench.keys.principal_of(key_text(number.to_bytes(32, "big"))))
        for number in range(10_000, 10_300)
    ]
    await eventually(lambda: sum(task.done() for task in flood) == 300 - 256)
    await eventually(lambda: bench.source.asked == asked + 16)
    refused = [task.exception() for task in flood if task.done()]
    assert all(isinstance(error, ResourceExhausted) and error.reason == "OVERLOADED" for error in refused)
    assert bench.source.asked == asked + 16  # no more at a time
    bench.source.gate.set()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_remembered_key_works_on_while_the_user_service_is_away(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    bench.source.away = Unavailable("away")
    for _ in range(14):
        await bench.later(60)
        assert await bench.keys.principal_of(KEY) == ADA
        await bench.settled()
    with pytest.raises(Unavailable) as refused:  # and one that is not remembered is not let in
        await bench.keys.principal_of(OTHER)
    assert refused.value.retry_after == 1.0
    await bench.later(60)
    with pytest.raises(Unavailable):
        await bench.keys.principal_of(KEY)


async def test_a_fault_of_the_user_service_is_no_refusal(bench: Bench) -> None:
    bench.source.away = Internal("a defect")
    with pytest.raises(Unavailable):
        await bench.keys.principal_of(KEY)


async def test_a_changed_key_counts_after_half_a_minute(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    changed = Principal("default", user="ada", api_key="k1", role="FREE", scopes=frozenset({"CHAT"}))
    bench.source.known[digest_of(KEY)] = KnownKey(changed)
    await bench.later(31)
    assert await bench.keys.principal_of(KEY) == ADA
    await bench.settled()
    assert await bench.keys.principal_of(KEY) == changed


async def test_an_ended_key_is_refused_at_once_and_for_ever(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    bench.source.away = Unavailable("away")  # also when nobody can be asked
    await bench.revocations.revoke(key_member("k1"), at=bench.clock.now())
    assert await reason(bench.keys, KEY) == "TOKEN_INVALID"
    bench.source.away = None
    del bench.source.known[digest_of(KEY)]
    for _ in range(30):  # longer than any memory of it
        await bench.later(60)
        assert await reason(bench.keys, KEY) == "TOKEN_INVALID"
        await bench.settled()


async def test_what_ends_a_users_tokens_makes_every_key_be_asked_for_again(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    admin = Principal("default", user="ada", api_key="k1", role="PRO", scopes=frozenset({"FILES"}))
    bench.source.known[digest_of(KEY)] = KnownKey(admin)
    await bench.later(1)
    await bench.revocations.revoke(user_member("ada"), at=bench.clock.now())
    assert await bench.keys.principal_of(KEY) == admin
    asked = bench.source.asked
    assert await bench.keys.principal_of(KEY) == admin
    assert bench.source.asked == asked  # once, not for as long as the revocation is remembered
    await bench.later(1)
    await bench.revocations.revoke(user_member("ada"), at=bench.clock.now())
    del bench.source.known[digest_of(KEY)]
    assert await reason(bench.keys, KEY) == "TOKEN_INVALID"


async def test_after_an_end_nothing_is_believed_that_cannot_be_asked(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    await bench.later(1)
    await bench.revocations.revoke(user_member("ada"), at=bench.clock.now())
    bench.source.away = Unavailable("away")
    with pytest.raises(Unavailable):
        await bench.keys.principal_of(KEY)


async def test_without_news_of_revocations_nobody_is_let_in(bench: Bench) -> None:
    await bench.keys.principal_of(KEY)
    bench.clock.advance(6)  # and Redis is not read
    with pytest.raises(Unavailable):
        await bench.keys.principal_of(KEY)


async def test_an_expired_key_says_so(bench: Bench) -> None:
    ends = bench.clock.now().timestamp() + 10
    bench.source.known[digest_of(KEY)] = KnownKey(ADA, ends)
    assert await bench.keys.principal_of(KEY) == ADA
    await bench.later(10)
    assert await reason(bench.keys, KEY) == "TOKEN_EXPIRED"
    await bench.reports.send()
    assert [(one.key, one.reason) for one in bench.source.refusals] == [("k1", "TOKEN_EXPIRED")]


async def test_uses_are_reported_once_a_minute_and_refusals_together(bench: Bench) -> None:
    for _ in range(5):
        await bench.keys.principal_of(KEY)
    for _ in range(3):
        bench.keys.refused(ADA, "x/Y", "PERMISSION_DENIED")
    bench.source.away = Unavailable("away")
    with pytest.raises(Unavailable):
        await bench.reports.send()
    bench.source.away = None
    await bench.reports.send()
    minute = bench.clock.now().replace(second=0, microsecond=0)
    assert bench.source.uses == [UsedKey("default", "k1", minute)]
    assert bench.source.refusals == [RefusedKey("default", "k1", "x/Y", "PERMISSION_DENIED", 3)]
    bench.keys.refused(ADA, "x/Y", "PERMISSION_DENIED")
    await bench.later(30)
    await bench.keys.principal_of(KEY)
    await bench.reports.send()
    assert len(bench.source.uses) == len(bench.source.refusals) == 1  # the same minute
    await bench.later(31)
    await bench.keys.principal_of(KEY)
    await bench.reports.send()
    assert len(bench.source.uses) == len(bench.source.refusals) == 2


LIMITED = Principal("default", user="ada", api_key="k1", requests_per_minute=10)


async def test_calls_are_counted_exactly_over_all_processes(bench: Bench, redis: "Redis") -> None:
    processes = [MinuteLimits(redis, bench.clock) for _ in range(3)]

    calls = [processes[number % 3].count(LIMITED) for number in range(60)]
    refused = [error for error in await asyncio.gather(*calls, return_exceptions=True) if error is not None]
    assert len(refused) == 50
    assert all(isinstance(error, ResourceExhausted) and error.reason == "RATE_LIMITED" for error in refused)
    assert all(0 < (getattr(error, "retry_after", 0) or 0) <= 60 for error in refused)
    bench.clock.advance(60)
    await processes[0].count(LIMITED)
    await bench.keys.count(ADA)  # a key without a limit of its own is not counted


async def test_without_redis_a_process_counts_for_itself_and_shows_it(bench: Bench) -> None:
    nowhere = Redis(host="127.0.0.1", port=1)
    limits = MinuteLimits(nowhere, bench.clock)
    before = REGISTRY.get_sample_value("api_key_local_counts_total") or 0.0
    for _ in range(10):
        await limits.count(LIMITED)
    with pytest.raises(ResourceExhausted):
        await limits.count(LIMITED)
    assert REGISTRY.get_sample_value("api_key_local_counts_total") == before + 11
    bench.clock.advance(60)
    await limits.count(LIMITED)
    await nowhere.aclose()
