"""`make top`: the figures between two looks, and how they are shown."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from supervisor.status import MeshStatus, ProcessStatus
from supervisor.top_figures import Window, quantile
from supervisor.top_pages import Snapshot, Usage, parse
from supervisor.top_view import Column, Look, age, duration, mebibytes, milliseconds, percent, rate, spark, table, view

_EDGE = """
# TYPE http_requests_total counter
http_requests_total{method="GET",endpoint="/v1/a",status_code="200"} %d
http_requests_total{method="GET",endpoint="/v1/a",status_code="500"} %d
http_requests_total{method="POST",endpoint="(unknown path under /)",status_code="404"} %d
http_request_duration_seconds_bucket{method="GET",endpoint="/v1/a",le="0.1"} %d
http_request_duration_seconds_bucket{method="GET",endpoint="/v1/a",le="0.2"} %d
http_request_duration_seconds_bucket{method="GET",endpoint="/v1/a",le="+Inf"} %d
somebody_elses 1
"""
_USER = """
rpc_server_requests_total{service="s",method="m",code="OK"} %d
rpc_server_requests_total{service="s",method="m",code="UNAVAILABLE"} %d
rpc_server_requests_total{service="s",method="m",code="NOT_FOUND"} %d
rpc_server_in_flight{service="s"} 2.0
database_connections_active 3.0
redis_memory_usage_bytes 1.048576e+06
active_users_total 7.0
"""
_INFERENCE = """
inference_waiting_items{model="m@1"} 4
inference_batch_items_sum{model="m@1"} %d
inference_batch_items_count{model="m@1"} %d
inference_items_total{model="m@1",outcome="done"} %d
inference_items_total{model="m@1",outcome="failed"} %d
inference_refusals_total{model="m@1",reason="queue_full"} 0
inference_best_batch_items{model="m@1"} 24.0
"""


def snapshot(at: float, edge: str, user: str, *, inference: str = "", cpu: float = 0.0, **changes: Any) -> Snapshot:
    """Returns a look at a mesh whose processes began at second 1000 of the wall clock."""
    processes = tuple(
        ProcessStatus(name, name.removesuffix("-2"), 100 + number, "ready", 0, "nowhere", 1000.0)
        for number, name in enumerate(("redis", "inference", "user", "user-2", "envoy"))
    )
    pages = {"envoy": parse(edge), "user": parse(user)} | ({"inference": parse(inference)} if inference else {})
    usage = {process.name: Usage(cpu, 10 * 1024 * 1024) for process in processes}
    made = Snapshot(at, 1000.0 + at, MeshStatus(1, "ready", 8080, processes), pages, usage)
    return replace(made, **changes)


@pytest.fixture
def window() -> Window:
    old = snapshot(
        10, _EDGE % (100, 0, 0, 100, 100, 100), _USER % (50, 0, 0), inference=_INFERENCE % (8, 4, 8, 0), cpu=1
    )
    new = snapshot(
        20, _EDGE % (180, 20, 20, 190, 200, 200), _USER % (90, 5, 5), inference=_INFERENCE % (48, 14, 46, 2), cpu=6
    )
    return Window(new, old)


def shown(window: Window, width: int = 120, **look: Any) -> str:
    out = io.StringIO()
    values = {"rows": None, "sort": "rate", "history": (1.0, 2.0), "live": False} | look
    Console(file=out, width=width).print(view(window, Look(width=width, **values)))
    return out.getvalue()


def test_only_what_is_shown_is_read_of_a_page() -> None:
    page = parse(_EDGE % (1, 2, 3, 4, 5, 6))
    assert "somebody_elses" not in page
    assert page["http_requests_total"][(("method", "GET"), ("endpoint", "/v1/a"), ("status_code", "500"))] == 2


def test_rates_and_parts_are_those_between_the_looks(window: Window) -> None:
    edge = window.edge(["envoy"])
    assert edge.rate == 12.0
    assert edge.failed == pytest.approx(20 / 120)
    assert edge.refused == pytest.approx(20 / 120)
    assert edge.latency.p50 == pytest.approx(0.1 * 50 / 90)
    assert edge.latency.p95 == pytest.approx(0.15)


def test_without_an_earlier_look_they_are_those_since_the_start(window: Window) -> None:
    assert Window(window.new).edge(["envoy"]).rate == 220 / 20.0


def test_a_process_that_began_again_counts_from_zero(window: Window) -> None:
    old = snapshot(10, _EDGE % (10_000, 0, 0, 0, 0, 0), _USER % (9, 9, 9), cpu=100)
    edge = Window(window.new, old).edge(["envoy"])
    assert edge.rate == (180 + 20 + 20) / 10
    [user] = [one for one in Window(window.new, old).processes() if one.status.name == "user"]
    assert user.cpu == 0.6


def test_processes(window: Window) -> None:
    by_name = {one.status.name: one for one in window.processes()}
    user, redis, second = by_name["user"], by_name["redis"], by_name["user-2"]
    assert (user.calls.rate, user.in_flight, user.connections, user.cpu) == (5.0, 2.0, 3.0, 0.5)
    assert user.calls.failed == 0.1  # NOT_FOUND is the caller's
    assert math.isnan(redis.calls.rate)
    assert math.isnan(second.in_flight)
    assert by_name["envoy"].calls.rate == 12.0


def test_models(window: Window) -> None:
    [model] = window.models()
    assert (model.model, model.waiting, model.items, model.batch_size) == ("m@1", 4.0, 4.0, 4.0)
    assert (model.failed, model.refused, model.best_size) == (0.2, 0.0, 24.0)


def test_the_best_size_is_unknown_until_it_was_measured() -> None:
    page = _INFERENCE.replace("inference_best_batch_items", "nothing") % (8, 4, 8, 0)
    [model] = Window(snapshot(10, "", "", inference=page)).models()
    assert math.isnan(model.best_size)


def test_routes_are_ordered_as_wanted(window: Window) -> None:
    assert [route.endpoint for route in window.routes()] == ["/v1/a", "(unknown path under /)"]
    text = shown(window, sort="errors")
    assert text.index("/v1/a") < text.index("(unknown path under /)")


def test_routes_beyond_the_screen_are_counted(window: Window) -> None:
    edge = "".join(
        f'http_requests_total{{method="GET",endpoint="/v1/{n:02}",status_code="200"}} {100 - n}\n' for n in range(30)
    )
    text = shown(Window(snapshot(20, edge, _USER % (1, 0, 0))), rows=24, live=True)
    assert "/v1/00" in text
    assert "/v1/29" not in text
    assert "… and 19 more" in text


@pytest.mark.parametrize("width", [40, 56, 72, 80, 100, 132, 200])
def test_it_fits_every_terminal(window: Window, width: int) -> None:
    text = shown(window, width)
    assert max(map(len, text.splitlines())) <= width
    for always in ("user-2", "redis", "m@1", "/v1/a" if width > 40 else "/v"):
        assert always in text


def test_a_wide_terminal_shows_every_column(window: Window) -> None:
    text = shown(window, 160)
    for title in ("pid", "restarts", "CPU", "MiB", "calls/s", "failed", "db", "waiting", "batch", "best", "4xx", "5xx"):
        assert title in text


def test_a_mesh_without_traffic_has_no_figures_and_no_zeros_in_their_place() -> None:
    text = shown(Window(snapshot(5, "", "")))
    assert "no requests at the edge yet" in text
    assert "nan" not in text


@pytest.mark.parametrize(
    ("buckets", "part", "expected"),
    [
        ([], 0.5, math.nan),
        ([(1.0, 0.0), (math.inf, 0.0)], 0.5, math.nan),
        ([(1.0, 10.0), (math.inf, 10.0)], 0.5, 0.5),
        ([(1.0, 10.0), (2.0, 20.0), (math.inf, 20.0)], 0.75, 1.5),
        ([(1.0, 10.0), (math.inf, 20.0)], 0.99, 1.0),
    ],
)
def test_quantiles_are_prometheus_own(buckets: list[tuple[float, float]], part: float, expected: float) -> None:
    assert quantile(buckets, part) == pytest.approx(expected, nan_ok=True)


def test_numbers_are_written_for_people() -> None:
    nothing = math.nan
    assert [rate(value) for value in (nothing, 0.0, 0.256, 12.34, 512.5)] == ["–", "0", "0.26", "12.3", "512"]
    assert [milliseconds(value) for value in (nothing, 0.0042, 0.042, 1.25)] == ["–", "4.2 ms", "42 ms", "1.2 s"]
    assert [percent(value) for value in (nothing, 0.0, 0.00001, 0.25)] == ["–", "0 %", "<0.1 %", "25.0 %"]
    assert [age(value) for value in (nothing, -1.0, 0.25)] == ["–", "never", "0.2 s ago"]
    assert [duration(value) for value in (5, 65, 3700, 90000)] == ["5 s", "1 min 5 s", "1 h 1 min", "1 d 1 h"]
    assert mebibytes(1.5 * 1024 * 1024) == "1.5 MiB"


def test_the_line_of_the_last_minute() -> None:
    assert spark([], 5) == ""
    assert spark([0.0, 0.0], 5) == "▁▁"
    assert spark([9.0, 0.0, 4.0, 8.0], 3) == "▁▅█"


def test_columns_leave_by_rank_and_the_last_ones_stay() -> None:
    from rich.text import Text  # noqa: PLC0415 - this test builds rows by hand

    columns = (Column("name", text=True), Column("middle", 1), Column("minor", 2))
    rows = [[Text("a" * 10), Text("b" * 10), Text("c" * 10)]]
    kept = {width: [str(one.header) for one in table("", columns, rows, width).columns] for width in (34, 33, 21, 5)}
    assert kept == {34: ["name", "middle", "minor"], 33: ["name", "middle"], 21: ["name"], 5: ["name"]}
