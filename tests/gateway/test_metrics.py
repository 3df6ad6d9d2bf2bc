"""The Prometheus page of the gateway: every request under the names of requirements.md, whoever answered it."""

import http.client
from collections.abc import Iterator

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway_envoy.config import Address
from observability.names import HTTP_DURATION, HTTP_REQUESTS
from tests.gateway.backend import refuse
from tests.gateway.contract import PROBE
from tests.gateway.envoy import HOST, free_ports
from tests.gateway.gateway import Gateway, Workshop
from tests.gateway.http import RawConnection, call
from tests.gateway.rpc import unary
from tests.support.eventually import eventually_sync

Labels = tuple[str, str, str]
_PROBE = "/v1/probes/{name}"


@pytest.fixture
def counted(workshop: Workshop) -> Iterator[Gateway]:
    """A gateway that has counted nothing yet."""
    (port,) = free_ports(1)
    with workshop.gateway("user", "probe", metrics=Address(HOST, port)) as gateway:
        yield gateway


def page(gateway: Gateway, path: str = "/metrics") -> tuple[int, str]:
    address = gateway.envoy.config.metrics
    assert address is not None
    connection = http.client.HTTPConnection(HOST, address.port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def samples(gateway: Gateway, name: str) -> dict[Labels, float]:
    """Returns the samples of a metric by method, endpoint and status code (or bucket)."""
    families = text_string_to_metric_families(page(gateway)[1])
    found = {}
    for sample in (one for family in families for one in family.samples if one.name == name):
        labels = dict(sample.labels)
        last = labels.pop("status_code", "") + labels.pop("le", "")
        key = (labels.pop("method"), labels.pop("endpoint"), last)
        assert (labels, key in found) == ({}, False), sample
        found[key] = sample.value
    return found


def requests(gateway: Gateway, *expected: Labels) -> None:
    """Waits until exactly these requests are counted, each as often as it is named."""
    wanted = {labels: float(expected.count(labels)) for labels in expected}
    eventually_sync(lambda: samples(gateway, HTTP_REQUESTS.name) == wanted, timeout=10)


def test_json_calls_are_counted_by_template(counted: Gateway) -> None:
    token = counted.issuer.bearer(sub="user-7")
    for name in ("a", "b", "b"):
        assert call(counted.port, "GET", f"/v1/probes/{name}?page_size=3", headers=token).status == 200
    counted.probe.on("Echo", refuse(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"))
    assert call(counted.port, "POST", "/v1/probes:echo", {"text": "a"}).status == 409
    requests(counted, *[("GET", _PROBE, "200")] * 3, ("POST", "/v1/probes:echo", "409"))


def test_answers_of_the_gateway_itself_are_counted(counted: Gateway) -> None:
    assert call(counted.port, "GET", "/v1/probes/a").status == 401
    assert call(counted.port, "GET", "/v1/nothing/123").status == 404
    assert call(counted.port, "DELETE", "/openai/v1/nothing/456").status == 404
    assert call(counted.port, "PUT", "/v1/probes:echo", {}).status == 405
    assert call(counted.port, "POST", "/v1/probes:echo", b"[" * 2_000_000).status == 413
    assert call(counted.port, "GET", "/healthz").status == 200
    with RawConnection(counted.port) as raw:
        raw.send(b"GET / HTTP/1.0\r\n\r\n")
        assert raw.answer().status == 426
    requests(
        counted,
        ("GET", _PROBE, "401"),
        ("GET", "(unknown path under /)", "404"),
        ("DELETE", "(unknown path under /openai/)", "404"),
        ("PUT", "/v1/probes:echo", "405"),
        ("POST", "/v1/probes:echo", "413"),
        ("GET", "/healthz", "200"),
        ("_OTHER", "(no request)", "426"),
    )


def test_the_status_is_the_one_that_the_caller_saw(counted: Gateway) -> None:
    counted.probe.on("Echo", refuse(grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE"))
    assert call(counted.port, "POST", "/v1/probes:echo", {}).status == 413
    requests(counted, ("POST", "/v1/probes:echo", "413"))


def test_grpc_calls_have_the_status_that_json_would_have_had(counted: Gateway) -> None:
    codes = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT)
    with grpc.insecure_channel(counted.envoy.target) as channel:
        unary(channel, "Echo")
        for code in codes:
            counted.probe.on("Create", refuse(code, "INTERNAL"))
            with pytest.raises(grpc.RpcError):
                unary(channel, "Create")
        with pytest.raises(grpc.RpcError):
            unary(channel, "GetProbe")
        with pytest.raises(grpc.RpcError):
            unary(channel, "/candela.nothing.v1.No/Way")
    requests(
        counted,
        ("POST", f"/{PROBE}/Echo", "200"),
        *(("POST", f"/{PROBE}/Create", status) for status in ("404", "503", "400")),
        ("POST", f"/{PROBE}/GetProbe", "401"),
        ("POST", "(unknown gRPC method)", "404"),
    )


def test_durations(counted: Gateway) -> None:
    for _ in range(3):
        assert call(counted.port, "POST", "/v1/probes:echo", {}).status == 200
    where = ("POST", "/v1/probes:echo", "")
    name = HTTP_DURATION.name
    eventually_sync(lambda: samples(counted, f"{name}_count").get(where) == 3, timeout=10)
    buckets = samples(counted, f"{name}_bucket")
    assert [float(bound) for _, _, bound in buckets] == [*HTTP_DURATION.buckets, float("inf")]
    assert list(buckets.values()) == sorted(buckets.values())
    assert buckets[("POST", "/v1/probes:echo", "+Inf")] == 3
    assert 0 <= samples(counted, f"{name}_sum")[where] < 10


def test_what_callers_invent_makes_no_labels(counted: Gateway) -> None:
    """HTTP/2 takes any word for a verb, and paths are endless."""
    for number in range(5):
        with RawConnection(counted.port) as raw:
            raw.send(http2_request(b"BREW%d" % number, b"/coffee/%d" % number))
            seen = b""
            while b"PATH_NOT_FOUND" not in seen:
                seen += raw.socket.recv(65536)
    requests(counted, *[("_OTHER", "(unknown path under /)", "404")] * 5)


def http2_request(verb: bytes, path: bytes) -> bytes:
    """Returns the bytes of one HTTP/2 request on a new connection."""
    fields = {b":method": verb, b":path": path, b":scheme": b"http", b":authority": b"a"}
    # Literal fields without indexing, new names, no Huffman code (RFC 7541, 6.2.2).
    block = b"".join(b"\x00%c%b%c%b" % (len(name), name, len(value), value) for name, value in fields.items())
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4) + frame(1, block, flags=5, stream=1)


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """Returns an HTTP/2 frame (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def test_the_rest_of_the_page_is_what_envoy_wrote(counted: Gateway) -> None:
    call(counted.port, "GET", "/healthz")
    status, text = page(counted)
    assert status == 200
    assert "envoy_candela" not in text
    assert 'envoy_cluster_membership_healthy{envoy_cluster_name="probe"} 1' in text


def test_nothing_else_of_the_admin_page_is_reachable(counted: Gateway) -> None:
    for path in ("/", "/stats", "/config_dump", "/quitquitquit", "/metrics/../config_dump", "/metrics/x"):
        assert page(counted, path)[0] == 404
