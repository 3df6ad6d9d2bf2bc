"""Every implemented RPC has its cases and its client methods, and what is implemented is known from the servers."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from candela import AsyncClient, Client
from services.kit.implemented import PUBLIC_SERVICES
from tests.conformance.contract import METHODS, Method
from tests.conformance.coverage import disagreements, uncovered, without_client_method
from tests.conformance.doors.python_client import method_of
from tests.conformance.suite import CASES, Case, CaseError, Expected, load, read
from tests.support.mesh import Mesh

# The first test to run also starts the mesh and, where they are not built yet, the Node clients.
pytestmark = pytest.mark.timeout(300)

_IMPLEMENTED = [method for method in METHODS.values() if method.service in PUBLIC_SERVICES]
_GET_USER = METHODS["candela.user.v1.UserService/GetUser"]
_WATCH_JOB = METHODS["candela.recognition.v1.RecognitionJobService/WatchRecognitionJob"]
_DOWNLOAD = METHODS["candela.user.v1.FileService/DownloadFile"]


def test_every_rpc_has_its_cases() -> None:
    assert [*uncovered(_IMPLEMENTED, load())] == []


def test_every_rpc_has_a_method_in_the_python_client() -> None:
    with Client("localhost:1", tls=False) as client:
        assert [*without_client_method(_IMPLEMENTED, partial(method_of, client))] == []


async def test_every_rpc_has_a_method_in_the_asynchronous_python_client() -> None:
    async with AsyncClient("localhost:1", tls=False) as client:
        assert [*without_client_method(_IMPLEMENTED, partial(method_of, client))] == []


def test_what_is_served_is_what_is_listed(mesh: Mesh) -> None:
    served = {name for process in _public_processes(mesh) for name in _reflected(mesh.ports.service(process))}
    public = served & {method.service for method in METHODS.values()}
    assert [*disagreements(PUBLIC_SERVICES, public)] == []


def test_every_case_file_is_of_an_implemented_service() -> None:
    assert {path.stem for path in CASES.glob("*.yaml")} <= set(PUBLIC_SERVICES)


@pytest.mark.parametrize("kind", ["reply", "error"])
def test_an_rpc_without_such_a_case_is_found(kind: str) -> None:
    others = [case for case in load() if case.method.name != _GET_USER.name or case.expected.kind != kind]
    found = [*uncovered([_GET_USER], others)]
    assert len(found) == 1
    assert found[0].startswith(_GET_USER.name)


def test_a_stream_whose_end_no_case_shows_is_found() -> None:
    good = _case(_WATCH_JOB, Expected("stream", {"end": "completed"}))
    bad = _case(_WATCH_JOB, Expected("stream", {"end": {"error": {"code": "INTERNAL"}}}))
    refused = _case(_WATCH_JOB, Expected("error", {"code": "NOT_FOUND"}))
    gone = _case(_WATCH_JOB, Expected("cancel", {"after": 1}))
    assert [*uncovered([_WATCH_JOB], [good, bad, refused, gone])] == []
    for left_out, lack in ((good, "succeeds"), (bad, "ends with error"), (refused, "fails"), (gone, "goes away")):
        found = [*uncovered([_WATCH_JOB], [one for one in (good, bad, refused, gone) if one is not left_out])]
        assert any(lack in one for one in found), (lack, found)


def test_a_raw_stream_needs_a_caller_who_goes_away() -> None:
    cases = [_case(_DOWNLOAD, Expected("body", {})), _case(_DOWNLOAD, Expected("error", {"code": "NOT_FOUND"}))]
    assert [*uncovered([_DOWNLOAD], cases)] == [f"{_DOWNLOAD.name}: in no case the caller goes away"]


def test_an_rpc_without_a_client_method_is_found() -> None:
    methods: dict[str, object] = {}
    assert len([*without_client_method([_GET_USER], methods.__getitem__)]) == 1


def test_a_list_that_is_not_what_is_served_is_found() -> None:
    assert len([*disagreements(["a", "b"], ["b", "c"])]) == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("cases: [{case: a, rpc: GetUser, reply: {}, replay: {}}]", "unknown replay"),
        ("cases: [{case: a, rpc: GetUser}]", "says none of"),
        ("cases: [{case: a, rpc: GetUser, reply: {}, error: {code: NOT_FOUND}}]", "at once"),
        ("cases: [{case: a, rpc: FetchUser, reply: {}}]", "no candela.user.v1.UserService/FetchUser"),
        ("cases: [{case: A B, rpc: GetUser, reply: {}}]", "lower case"),
        ("cases: [{case: a, rpc: GetUser, reply: {}}, {case: a, rpc: GetUser, reply: {}}]", "once"),
        ("cases: [{case: a, rpc: GetUser, error: {reason: NOT_FOUND}}]", "has a code"),
        ("cases: [{case: a, rpc: GetUser, reply: {}, not_over: {fax: none here}}]", "not_over"),
        ("cases: [{case: a, rpc: GetUser, reply: {}, given: [{call: GetUser, wait: 1}]}]", "unknown wait"),
    ],
)
def test_a_case_that_is_written_wrongly_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "candela.user.v1.UserService.yaml"
    path.write_text(f"service: candela.user.v1.UserService\n{text}\n")
    with pytest.raises(CaseError, match=complaint):
        [*read(path)]


def _case(method: Method, expected: Expected) -> Case:
    return replace(load()[0], method=method, expected=expected)


def _public_processes(mesh: Mesh) -> Iterator[str]:
    """Yield the processes whose services callers from outside reach."""
    known = {process.name for process in mesh.status().processes}
    yield from (name for name in ("user", "recognition") if name in known)


def _reflected(port: int) -> list[str]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return list(ProtoReflectionDescriptorDatabase(channel).get_services())
