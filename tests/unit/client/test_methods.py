"""What is generated: a method for every public RPC on both clients, with one signature, documented."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

import candela
from candela.api.index import METHODS
from scripts.client.names import COLLECTIONS, EXTENDED, RENAMED, TIMEOUTS
from services.kit.implemented import PUBLIC_SERVICES

ROOT = Path(__file__).parents[3]
CONTRACT = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "build/candela-public.binpb").read_bytes())
RPCS = [
    f"{file.package}.{service.name}/{method.name}"
    for file in CONTRACT.file
    if file.package.startswith("candela.")
    for service in file.service
    for method in service.method
]
IMPLEMENTED = [rpc for rpc in RPCS if rpc.partition("/")[0] in PUBLIC_SERVICES]

Clients = tuple[candela.Client, candela.AsyncClient]

_LOADED = """
import sys
import candela
assert not {"grpc", "google.protobuf"} & set(sys.modules), "importing candela loads them"
client = candela.Client("localhost:1")
client.documents
print(*sorted(name for name in sys.modules if name.startswith("candela.api.")))
"""


@pytest.fixture(scope="module")
def clients() -> Iterator[tuple[candela.Client, candela.AsyncClient]]:
    with candela.Client("localhost:1") as client:
        yield client, candela.AsyncClient("localhost:1")  # makes its channel with the first call, and there is none


def method_of(client: Any, rpc: str) -> Any:
    collection, _, name = METHODS[rpc].partition(".")
    return getattr(getattr(client, collection), name)


def test_every_public_rpc_has_a_place() -> None:
    assert sorted(METHODS) == sorted(RPCS)
    assert len(set(METHODS.values())) == len(METHODS)
    assert {rpc.partition("/")[0] for rpc in IMPLEMENTED} == set(PUBLIC_SERVICES)


@pytest.mark.parametrize("rpc", RPCS)
def test_an_rpc_has_one_method_on_both_clients(clients: Clients, rpc: str) -> None:
    sync, asynchronous = (method_of(client, rpc) for client in clients)
    signatures = [inspect.signature(one) for one in (sync, asynchronous)]
    frames = "RecognizePlateVideo" in rpc  # takes an asynchronous iterable as well
    shapes = [[(one.name, one.kind, one.default) for one in each.parameters.values()] for each in signatures]
    assert shapes[0] == shapes[1]
    if not frames:
        assert [one.annotation for one in signatures[0].parameters.values()] == [
            one.annotation for one in signatures[1].parameters.values()
        ]
    assert signatures[0].parameters["timeout"].default is None
    assert sync.__doc__
    assert asynchronous.__doc__
    assert signatures[0].return_annotation is not inspect.Signature.empty


def test_every_field_of_a_request_can_be_given(clients: Clients) -> None:
    for rpc, request in requests().items():
        taken = inspect.signature(method_of(clients[0], rpc)).parameters
        missing = {field.name for field in request.field} - set(taken)
        # An update takes the fields of its resource instead, a stream of requests takes requests.
        assert len(missing) <= ("update_mask" in taken) or "requests" in taken, (rpc, missing)


def requests() -> dict[str, descriptor_pb2.DescriptorProto]:
    messages = {f".{file.package}.{one.name}": one for file in CONTRACT.file for one in file.message_type}
    return {
        f"{file.package}.{service.name}/{method.name}": messages[method.input_type]
        for file in CONTRACT.file
        if file.package.startswith("candela.")
        for service in file.service
        for method in service.method
    }


def test_no_collection_is_hidden_by_the_client_itself() -> None:
    for collection in {place.partition(".")[0] for place in METHODS.values()}:
        for kind in (candela.Client, candela.AsyncClient):
            assert isinstance(inspect.getattr_static(kind, collection), cached_property), collection


def test_exceptions_to_the_rules_are_about_what_there_is() -> None:
    assert set(RENAMED) | set(TIMEOUTS) <= set(RPCS)
    assert set(EXTENDED) <= {place.partition(".")[0] for place in METHODS.values()}
    assert set(COLLECTIONS) <= {rpc.partition("/")[0].rpartition(".")[2] for rpc in RPCS}


def test_names_are_what_the_paths_say() -> None:
    expected = {
        "candela.recognition.v1.RecognitionService/RecognizeDocument": "documents.recognize",
        "candela.user.v1.UserService/RegisterUser": "users.register",
        "candela.user.v1.UserAdminService/SetUserRole": "users.set_role",
        "candela.user.v1.SessionService/DeleteSession": "sessions.revoke",
        "candela.user.v1.FileService/WriteUpload": "uploads.write",
        "candela.chat.v1.MessageService/SendMessage": "messages.send",
        "candela.payment.v1.OrderService/ListRefunds": "refunds.list",
        "candela.recognition.v1.PlateService/RecognizePlateVideo": "plates.recognize_video",
    }
    assert {rpc: METHODS[rpc] for rpc in expected} == expected


def test_a_docstring_is_the_contracts_comment(clients: Clients) -> None:
    text = inspect.getdoc(clients[0].users.update) or ""
    assert text.startswith("Changes the fields of the caller's own profile that `update_mask` names.")
    assert "display_name: " in text
    assert "timeout: " in text


def test_only_what_is_used_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["candela.api.documents", "candela.api.resources"]
