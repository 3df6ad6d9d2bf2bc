"""Errors to statuses and back."""

import base64
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from candela.error.v1 import error_reason_pb2
from services.kit import errors as e
from services.kit.grpc_status import CODES, STATUS_TRAILER, code_of, from_rpc_error, from_status, to_status
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.shapes import invoke


def everything_below(kind: type[e.CandelaError]) -> set[type[e.CandelaError]]:
    return {kind, *(deeper for child in kind.__subclasses__() for deeper in everything_below(child))}


def test_every_error_of_the_tree_has_a_code_of_its_own() -> None:
    tree = {kind for kind in everything_below(e.CandelaError) if kind.__module__ == e.__name__} - {e.CandelaError}
    assert set(CODES) == tree
    assert len(set(CODES.values())) == len(CODES)


@pytest.mark.parametrize("kind", CODES)
def test_default_reasons_are_in_the_contract(kind: type[e.CandelaError]) -> None:
    assert f"ERROR_REASON_{kind.default_reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118 - no dict


def test_a_subclass_has_the_code_of_its_parent() -> None:
    class NoSuchUser(e.NotFound):
        pass

    assert code_of(NoSuchUser("x")) is grpc.StatusCode.NOT_FOUND
    assert code_of(e.CandelaError("x")) is grpc.StatusCode.INTERNAL


texts = st.text(max_size=20)
violations = st.builds(e.FieldViolation, field=texts, description=texts, rule=texts)


@given(
    kind=st.sampled_from(list(CODES)),
    message=texts,
    reason=st.sampled_from(["NOT_FOUND", "OVERLOADED"]),
    metadata=st.dictionaries(texts, texts, max_size=5),
    found=st.lists(violations, max_size=5),
    retry_after=st.none() | st.integers(0, 10_000_000).map(lambda ms: ms / 1000),
)
def test_an_error_survives_the_way_there_and_back(
    kind: type[e.CandelaError],
    message: str,
    reason: str,
    metadata: dict[str, str],
    found: list[e.FieldViolation],
    retry_after: float | None,
) -> None:
    error = kind(message, reason=reason, metadata=metadata, violations=found, retry_after=retry_after)
    back = from_status(status_pb2.Status.FromString(to_status(error, "abc").SerializeToString()))
    assert type(back) is kind
    assert (back.message, back.reason, back.metadata) == (message, reason, metadata)
    assert (back.violations, back.retry_after) == (tuple(found), error.retry_after)


@pytest.mark.parametrize("letter", ["x", "错", "\ud800"])
def test_a_status_fits_into_a_stock_clients_trailers(letter: str) -> None:
    found = [e.FieldViolation(letter * 1000, letter * 1000, letter * 1000) for _ in range(500)]
    metadata = {f"{letter * 40}{number}": letter * 5000 for number in range(100)}
    status = to_status(
        e.InvalidArgument(letter * 50_000, violations=found, metadata=metadata, retry_after=1.0), "0" * 32
    )
    text = len(quote(status.message))
    assert text + len(base64.b64encode(status.SerializeToString())) < 7.5 * 1024
    bad = next(error_details_pb2.BadRequest.FromString(d.value) for d in status.details if "BadRequest" in d.type_url)
    assert len(bad.field_violations) >= 3


async def test_the_largest_error_reaches_a_stock_client(echo: EchoServer) -> None:
    items = [{"count": -1}] * 5000
    seen = await invoke(echo.stub, "Open", "错" * 5000, items=items)
    assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
    assert seen.info.reason == "INVALID_ARGUMENT"


class Failed(grpc.RpcError):
    """What a client call raises, as far as it is looked at."""

    def __init__(self, code: grpc.StatusCode, trailers: Any = ()) -> None:
        self._code = code
        self._trailers = trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "failed to connect to ipv4:10.0.0.7:5432"

    def trailing_metadata(self) -> Any:
        return self._trailers


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, e.Unavailable),
        (grpc.StatusCode.CANCELLED, e.Unavailable),  # not by us: an asyncio.CancelledError would be on its way
        (grpc.StatusCode.DEADLINE_EXCEEDED, e.DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, e.ResourceExhausted),
        (grpc.StatusCode.UNKNOWN, e.Internal),
        (grpc.StatusCode.INTERNAL, e.Internal),
        (grpc.StatusCode.UNIMPLEMENTED, e.Internal),
        (grpc.StatusCode.NOT_FOUND, e.Internal),  # a proxy's, not a service's: it says nothing about the resource
        (grpc.StatusCode.UNAUTHENTICATED, e.Internal),
        (grpc.StatusCode.DATA_LOSS, e.Internal),
    ],
)
def test_what_the_transport_says_does_not_travel(code: grpc.StatusCode, kind: type[e.CandelaError]) -> None:
    error = from_rpc_error(Failed(code))
    assert type(error) is kind
    assert "10.0.0.7" not in error.message


def test_a_services_own_answer_keeps_its_meaning() -> None:
    raw = to_status(e.NotFound("no model", reason="MODEL_NOT_FOUND", metadata={"model": "x"})).SerializeToString()
    error = from_rpc_error(Failed(grpc.StatusCode.NOT_FOUND, ((STATUS_TRAILER, raw),)))
    assert type(error) is e.NotFound
    assert (error.reason, error.message, error.metadata) == ("MODEL_NOT_FOUND", "no model", {"model": "x"})


def test_a_refusal_of_our_own_identity_is_our_defect() -> None:
    raw = to_status(e.Unauthenticated("expired", reason="TOKEN_EXPIRED")).SerializeToString()
    failed = Failed(grpc.StatusCode.UNAUTHENTICATED, ((STATUS_TRAILER, raw),))
    assert type(from_rpc_error(failed, as_service=True)) is e.Internal
    assert type(from_rpc_error(failed)) is e.Unauthenticated


@pytest.mark.parametrize("trailers", [((STATUS_TRAILER, b"\xff\xff"),), ((STATUS_TRAILER, "text"),), None])
def test_damaged_trailers_do_not_hurt(trailers: Any) -> None:
    assert type(from_rpc_error(Failed(grpc.StatusCode.UNAVAILABLE, trailers))) is e.Unavailable


def test_a_foreign_error_info_is_not_ours() -> None:
    status = status_pb2.Status(code=5, message="secret path")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="X", domain="example.org"))
    assert "secret" not in from_status(status).message
