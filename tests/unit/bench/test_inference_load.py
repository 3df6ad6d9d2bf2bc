"""The load's tools: h2load's words, HTTP heads, orders between processes, counts of what models execute."""

import asyncio
from pathlib import Path

import pytest

from tests.bench.inference.accounts import Fate, Outcome
from tests.bench.inference.callers import HttpCaller, parse_head
from tests.bench.inference.contest import Entrant, Run, contest, ratios, shown
from tests.bench.inference.generator import Answer, Flow, Order, patiently
from tests.bench.inference.h2load import grpc_target, parse
from tests.bench.inference.pace import Pace
from tests.bench.inference.tritons import policy
from tests.bench.inference.works import WORKLOADS, Counter, counted, executed, sleeper

_SUMMARY = """\
finished in 4.00s, 1000.00 req/s, 374.68KB/s
requests: 4 total, 4 started, 4 done, {good} succeeded, {bad} failed, {bad} errored, 0 timeout
"""


def test_h2load_is_read() -> None:
    seen = parse(_SUMMARY.format(good=4, bad=0), "100\t200\t1500\n100\t200\t2500\n101\t200\t500\n102\t200\t1000\n")
    assert seen.rate == 1000.0
    assert seen.latencies == (0.0015, 0.0025, 0.0005, 0.001)
    assert seen.failed == 0


def test_what_is_no_200_is_no_throughput() -> None:
    seen = parse(_SUMMARY.format(good=3, bad=1), "100\t200\t1500\n100\t503\t10\n101\t200\t500\n102\t200\t1000\n")
    assert seen.rate == 750.0
    assert len(seen.latencies) == 3
    assert seen.failed == 1


@pytest.mark.parametrize(
    ("summary", "log"), [("something else", "100\t200\t1500\n"), (_SUMMARY.format(good=0, bad=4), "100\t503\t10\n")]
)
def test_words_that_are_not_understood_are_no_figure(summary: str, log: str) -> None:
    with pytest.raises(RuntimeError):
        parse(summary, log)


def test_a_grpc_message_has_its_length_before_it() -> None:
    target = grpc_target("a:1", "/s/m", b"abc", {"authorization": "x"})
    assert target.body == b"\0\0\0\0\x03abc"
    assert target.http2
    assert target.headers["te"] == "trailers"


def test_a_head_says_status_and_length() -> None:
    assert parse_head(b"HTTP/1.1 503 Nope\r\nserver: x\r\nContent-Length: 12\r\n\r\n") == (503, 12)
    with pytest.raises(ValueError, match="content-length"):
        parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")


async def test_an_http_caller_tells_answers_refusals_and_late_ones() -> None:
    replies = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n", b""]
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            asked.append(head + await reader.readexactly(4))
            writer.write(replies[len(asked) - 1])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        caller = HttpCaller(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "/p", b"body", {"x": "y"})
        outcomes = [await caller(5.0), await caller(5.0), await caller(0.05)]
        await caller.close()
    assert outcomes == ["ok", "refused", "late"]
    assert asked[0].startswith(b"POST /p HTTP/1.1\r\n")
    assert asked[0].endswith(b"body")


def test_orders_and_answers_survive_their_files() -> None:
    order = Order(
        "exchange", "a:1", [Flow("00ff", phases=[[1.0, 2.0]], seed=3, tenant="t")], deadline=0.4, sample_at=[0.5]
    )
    assert Order.from_json(order.to_json()) == order
    answer = Answer([[Fate(0.5, 0.1, "ok"), Fate(0.7, 0.2, "refused")]], 2.0, 0.1, [1, 2], [3])
    assert Answer.from_json(answer.to_json()) == answer


async def test_callers_that_give_up_are_no_answers() -> None:
    async def never(deadline: float, priority: int = 2, tenant: str = "") -> Outcome:
        await asyncio.Event().wait()
        return "ok"

    async def at_once(deadline: float, priority: int = 2, tenant: str = "") -> Outcome:
        return "ok"

    assert await patiently(never, 1.0, Flow("", cancel_after=0.001)) == "withdrawn"
    assert await patiently(at_once, 1.0, Flow("")) == "ok"


def test_what_models_execute_is_counted_for_all_of_them(tmp_path: Path) -> None:
    run, other = counted(sleeper(0.0), tmp_path), Counter(tmp_path)
    assert run([b"a" * 20, b"b"]) == [b"a" * 16, b"b"]
    other.add(3)
    assert executed(tmp_path) == 5


def test_every_round_begins_with_another_entrant() -> None:
    order: list[str] = []

    def entrant(name: str, rate: float) -> Entrant:
        def run(_: Pace) -> Run:
            order.append(name)
            return Run(rate, 1.0, 2.0, 3.0)

        return run

    runs = contest({"a": entrant("a", 90.0), "b": entrant("b", 100.0)}, Pace(2, 1.0, 0.0))
    assert order == ["a", "b", "b", "a"]
    assert ratios(runs["a"], runs["b"]) == (0.9, 0.9)
    assert any(line.startswith("b") and "100" in line for line in shown(runs))


def test_triton_refuses_what_leaves_no_time_for_a_batch() -> None:
    assert "320000" in policy(WORKLOADS["sleep80"], 0.4)
    assert policy(WORKLOADS["sleep80"], 0.0) == ""


def test_a_quick_pace_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANDELA_BENCH_QUICK", raising=False)
    usual = Pace.chosen()
    monkeypatch.setenv("CANDELA_BENCH_QUICK", "1")
    assert (usual.rounds, Pace.chosen().rounds) == (5, 1)
    assert Pace.chosen().seconds < usual.seconds
