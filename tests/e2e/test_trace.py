"""One trace of one recognise call: from the edge to the batches on the models, as `make trace` prints it."""

import subprocess
import sys

import pytest

from supervisor.traces.store import SpanRecord, Trace
from tests.support.edge import Edge
from tests.support.eventually import eventually_sync
from tests.support.mesh import Mesh
from tests.support.printed_page import png, print_page

DETECT, READ = "candela.inference.v1.OcrService/DetectText", "candela.inference.v1.OcrService/RecognizeText"
RECOGNISE = "candela.recognition.v1.RecognitionService/RecognizeDocument"
BATCH = "inference.batch"


@pytest.fixture
def traced(mesh: Mesh) -> Trace:
    """The finished trace of one recognise call."""
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        response = edge.recognize(png(print_page(["Follow", "me", "down"])))
    assert response.status_code == 200
    trace_id = response.headers["candela-trace-id"]

    def complete() -> Trace | None:
        found = mesh.traces().find(trace_id)
        if not found:
            return None
        spans = found[0].spans
        whole = {"gateway", "recognition", "inference"} <= {s.service for s in spans.values()}
        # Every process sends its spans when it gets to it: a parent may come long after its children.
        linked = all(span.parent_id in spans for span in spans.values() if span.parent_id)
        # A batch's span is made when its results have left: it may come after the spans of its requests.
        parents = {span.parent_id for span in spans.values() if span.name == BATCH}
        requests = requests_in(found[0])
        batched = len(requests) >= 2 and all(span.span_id in parents for span in requests)
        return found[0] if whole and linked and batched and found[0].root.service == "gateway" else None

    trace = eventually_sync(complete, timeout=20)
    assert trace is not None
    return trace


def requests_in(trace: Trace) -> list[SpanRecord]:
    """The calls as the inference server saw them."""
    return [span for span in trace.spans.values() if span.service == "inference" and span.name in {DETECT, READ}]


def children(trace: Trace, parent: SpanRecord) -> list[SpanRecord]:
    return sorted((s for s in trace.spans.values() if s.parent_id == parent.span_id), key=lambda s: s.start)


def descend(trace: Trace, span: SpanRecord, *path: tuple[str, str]) -> SpanRecord:
    """Follow (service, name) from a span to its child, and its child, …; fails where the tree differs."""
    for service, name in path:
        found = [child for child in children(trace, span) if (child.service, child.name) == (service, name)]
        assert len(found) == 1, (span.name, [(c.service, c.name) for c in children(trace, span)])
        [span] = found
    return span


def test_the_tree_runs_from_the_edge_to_the_batch(traced: Trace) -> None:
    root = traced.root
    assert root.service == "gateway"
    assert root.parent_id == ""
    server = descend(traced, root, ("recognition", RECOGNISE))
    for call in (DETECT, READ):
        request = descend(traced, server, ("recognition", call), ("inference", call))
        batches = children(traced, request)  # one, or more where smaller ones are better
        assert batches
        for batch in batches:
            assert (batch.service, batch.name) == ("inference", BATCH)
            assert root.start <= server.start <= batch.start <= batch.end <= server.end <= root.end


def test_the_batch_links_the_requests_in_it(traced: Trace) -> None:
    requests = {span.span_id for span in requests_in(traced)}
    batches = [s for s in traced.spans.values() if s.name == BATCH]
    assert batches
    assert {link.span_id for batch in batches for link in batch.links} == requests


def test_it_can_be_printed(mesh: Mesh, traced: Trace) -> None:
    command = [sys.executable, "-m", "supervisor", "trace", traced.trace_id[:12]]
    env = {"CANDELA_DATA_DIR": str(mesh.data.root), "NO_COLOR": "1", "PATH": "/usr/bin:/bin"}
    shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    for service, name in (("gateway", "POST /v1/documents:recognize"), ("recognition", RECOGNISE), ("inference", READ)):
        [*_, row] = [line for line in shown.splitlines() if service in line and name.rpartition(".")[2] in line]
        assert " ms" in row
    assert "model=ppocr-rec" in next(line for line in shown.splitlines()[::-1] if BATCH in line)


def test_a_trace_that_a_client_began_goes_on(mesh: Mesh) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Edge(mesh.edge) as edge:
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
        response = edge.call("GET", "/.well-known/jwks.json", headers=headers)
    assert response.headers["candela-trace-id"] == trace_id


def test_failures_carry_their_trace_id_too(mesh: Mesh) -> None:
    with Edge(mesh.edge) as edge:
        for path in ("/v1/users/me", "/nowhere"):
            assert len(edge.call("GET", path).headers["candela-trace-id"]) == 32
