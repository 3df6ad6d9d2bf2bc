"""What Prometheus finds on a running mesh: the metrics of requirements.md, by name, type and labels."""

import re
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from candela.user.v1.session_service_pb2 import CreateSessionRequest
from candela.user.v1.session_service_pb2_grpc import SessionServiceStub
from observability import names
from observability.names import Metric
from tests.support.edge import Edge
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.mesh_fixture import metric, works

_TRACE_ID = re.compile("[0-9a-f]{32}")


@pytest.fixture
def edge(mesh: Mesh) -> Iterator[Edge]:
    with Edge(mesh.edge) as person:
        yield person


def family(mesh: Mesh, process: str, wanted: Metric) -> tuple[str, set[tuple[str, ...]]]:
    """Returns the type of a metric and the label names that its samples have."""
    page = httpx.get(f"http://127.0.0.1:{mesh.ports.metrics(process)}/metrics").text
    name = wanted.name.removesuffix("_total")
    for found in text_string_to_metric_families(page):
        if found.name in {wanted.name, name}:
            made = (sample for sample in found.samples if not sample.name.endswith("_created"))
            return found.type, {tuple(label for label in one.labels if label != "le") for one in made}
    return "missing", set()


@pytest.mark.parametrize(
    ("process", "wanted", "kind"),
    [
        ("gateway", names.HTTP_REQUESTS, "counter"),
        ("gateway", names.HTTP_DURATION, "histogram"),
        ("user", names.ACTIVE_USERS, "gauge"),
        ("user", names.DATABASE_CONNECTIONS, "gauge"),
        ("recognition", names.DATABASE_CONNECTIONS, "gauge"),
        ("user", names.REDIS_MEMORY, "gauge"),
    ],
)
def test_required_metrics_have_their_types_and_labels(mesh: Mesh, process: str, wanted: Metric, kind: str) -> None:
    assert works(mesh)
    eventually_sync(lambda: family(mesh, process, wanted) == (kind, {wanted.labels}), timeout=15)


def test_a_request_counts_once_under_its_template(mesh: Mesh, edge: Edge) -> None:
    edge.sign_up()
    session = edge.call("GET", "/v1/sessions").json()["sessions"][0]["name"]
    labels = {"method": "DELETE", "endpoint": "/v1/{name}", "status_code": "200"}
    templates = {"/v1/{name}", "/v1/sessions/{name}", "/v1/sessions/{session}"}

    def counted() -> float:
        rest = {key: labels[key] for key in ("method", "status_code")}
        return sum(metric(mesh, "gateway", "http_requests_total", **rest, endpoint=one) for one in templates)

    before = counted()
    assert edge.call("DELETE", f"/v1/{session}").status_code == 200
    eventually_sync(lambda: counted() == before + 1, timeout=10)
    page = httpx.get(f"http://127.0.0.1:{mesh.ports.metrics('gateway')}/metrics").text
    assert session.rpartition("/")[2] not in page


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "status"),
    [
        ("GET", "/v1/sessions", "/v1/sessions", 401),
        ("GET", "/nowhere/4711", "(unknown path under /)", 404),
        ("PUT", "/v1/sessions", "/v1/sessions", 405),
        ("GET", "/openapi.json", "/openapi.json", 200),
    ],
)
def test_the_gateways_own_answers_count(mesh: Mesh, method: str, path: str, endpoint: str, status: int) -> None:
    labels = {"method": method, "endpoint": endpoint, "status_code": str(status)}
    before = metric(mesh, "gateway", "http_requests_total", **labels)
    assert httpx.request(method, f"{mesh.edge}{path}").status_code == status
    eventually_sync(lambda: metric(mesh, "gateway", "http_requests_total", **labels) == before + 1, timeout=10)


def test_grpc_counts_by_method_with_the_status_of_json(mesh: Mesh) -> None:
    endpoint = "/candela.user.v1.SessionService/CreateSession"
    before = metric(mesh, "gateway", "http_requests_total", endpoint=endpoint, status_code="400")
    refuse_over_grpc(mesh)

    def now() -> float:
        return metric(mesh, "gateway", "http_requests_total", endpoint=endpoint, status_code="400")

    eventually_sync(lambda: now() == before + 1, timeout=10)


def refuse_over_grpc(mesh: Mesh) -> Any:
    """Makes a call that is refused and returns its end, which is a grpc.Call."""
    with grpc.insecure_channel(mesh.target) as channel, pytest.raises(grpc.RpcError) as caught:
        SessionServiceStub(channel).CreateSession(CreateSessionRequest(), timeout=10)
    call: Any = caught.value
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    return call


def test_redis_and_users_have_plausible_figures(mesh: Mesh, edge: Edge) -> None:
    edge.sign_up()
    eventually_sync(lambda: metric(mesh, "user", "redis_memory_usage_bytes") > 100_000, timeout=15)
    assert metric(mesh, "user", "redis_memory_usage_bytes") < 256 * 1024 * 1024
    eventually_sync(lambda: metric(mesh, "user", "active_users_total") >= 1, timeout=15)
    assert (
        0
        < metric(mesh, "supervisor", "candela_data_free_bytes")
        < metric(mesh, "supervisor", "candela_data_disk_bytes")
    )


def test_what_dashboards_use_of_envoy_exists(mesh: Mesh) -> None:
    page = httpx.get(f"http://127.0.0.1:{mesh.ports.envoy_admin}/stats/prometheus").text
    shown = set(re.findall(r"^(envoy_\w+)[{ ]", page, re.MULTILINE))
    assert shown >= names.ENVOY


def test_prometheus_is_told_where_everything_is(mesh: Mesh) -> None:
    groups = httpx.Response(200, content=(mesh.data.run / "prometheus-targets.json").read_bytes()).json()
    assert {group["labels"]["process"] for group in groups} == {
        "supervisor",
        "inference",
        "user",
        "recognition",
        "envoy",
    }
    for group in groups:
        [target] = group["targets"]
        answer = httpx.get(f"http://{target}/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/.well-known/jwks.json", 200),
        ("GET", "/healthz", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/users/me", 401),
        ("POST", "/v1/sessions", 400),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/users", 405),
        ("GET", "/v1/sessions?nonsense=1", 400),
    ],
)
def test_every_http_answer_carries_its_trace_id(mesh: Mesh, method: str, path: str, status: int) -> None:
    with Edge(mesh.edge) as edge:
        if "?" in path:
            edge.sign_up()
        answer = edge.call(method, path, {} if method == "POST" else None)
    assert answer.status_code == status
    assert _TRACE_ID.fullmatch(answer.headers["candela-trace-id"])


def carried(call: Any) -> dict[str, str]:
    """Returns the metadata of a call's end."""
    return dict([*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())])


def test_every_grpc_answer_carries_its_trace_id(mesh: Mesh) -> None:
    refused = refuse_over_grpc(mesh)
    assert _TRACE_ID.fullmatch(carried(refused)["candela-trace-id"])
    with grpc.insecure_channel(mesh.target) as channel:
        unknown: Any = channel.unary_unary("/candela.nothing.v1.No/Way", lambda _: b"", lambda data: data)
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"", timeout=10)
    assert _TRACE_ID.fullmatch(carried(caught.value)["candela-trace-id"])
