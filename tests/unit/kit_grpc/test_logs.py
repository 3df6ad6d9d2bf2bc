"""The shape of log lines, and what must never be in one."""

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from observability.logs import BatchingHandler, JsonFormatter, start_logging
from services.kit.bootstrap import call_facts
from services.kit.call import Call, Principal, handling
from tests.support.eventually import eventually
from tests.unit.kit_grpc.conftest import EchoServer
from tests.unit.kit_grpc.shapes import ids, invoke

OWN = ["timestamp", "level", "logger", "message", "trace_id", "span_id", "user_id", "request_id"]


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    handler = start_logging("INFO", facts=call_facts, stream=stream)
    yield stream
    handler.close()
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    for handler in logging.getLogger().handlers:
        handler.flush()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_members_of_the_requirements(output: io.StringIO) -> None:
    logging.getLogger("candela.x").info("made %d", 3, extra={"generation_params": {"model": "m", "ratio": "1:1"}})
    (line,) = lines(output)
    assert list(line)[:8] == OWN
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "candela.x", "made 3")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert line["generation_params"] == {"model": "m", "ratio": "1:1"}


def test_a_line_belongs_to_its_trace_its_user_and_its_request(output: io.StringIO) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    call = Call("/x", Principal(tenant="default", user="u1"), request_id="r1")
    with tracer.start_as_current_span("s") as span, handling(call):
        logging.getLogger("x").info("inside")
    context = span.get_span_context()
    (line,) = lines(output)
    assert (line["trace_id"], line["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")
    assert (line["user_id"], line["request_id"]) == ("u1", "r1")


def test_a_line_is_one_line_whatever_is_in_it(output: io.StringIO) -> None:
    logging.getLogger("x").info("a\nb\u2028 \x00 ☃", extra={"thing": object(), "text": "c\r\nd\x85"})
    assert len(output_lines := lines(output)) == 1
    assert output_lines[0]["text"] == "c\r\nd\x85"


def test_an_exception_brings_its_stack(output: io.StringIO) -> None:
    try:
        raise LookupError("gone")
    except LookupError:
        logging.getLogger("x").exception("failed")
    (line,) = lines(output)
    assert "LookupError: gone" in line["exception"]
    assert "Traceback" in line["exception"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("password", "hunter2", "***"),
        ("Authorization", "Bearer x", "***"),
        ("refresh_token", "abc", "***"),
        ("api_key", "ck_1", "***"),
        ("body_measurements", {"waist": 70}, "***"),
        ("measurement", 70, "***"),
        ("form", {"user": {"password": "hunter2", "name": "n"}}, {"user": {"password": "***", "name": "n"}}),
        ("headers", [{"cookie": "c"}], [{"cookie": "***"}]),
        ("prompt_tokens", 12, 12),
        ("colour", "red", "red"),
    ],
)
def test_secrets_are_masked_by_their_names(output: io.StringIO, name: str, value: Any, shown: Any) -> None:
    logging.getLogger("x").info("m", extra={name: value})
    assert lines(output)[0][name] == shown


def test_extras_cannot_forge_a_lines_own_members(output: io.StringIO) -> None:
    logging.getLogger("x").info("m", extra={"level": "DEBUG", "timestamp": "1970"})
    (line,) = lines(output)
    assert line["level"] == "INFO"
    assert line["timestamp"] != "1970"


def test_lines_are_written_soon_and_warnings_at_once() -> None:
    stream = io.StringIO()
    handler = BatchingHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "first", (), None))
    assert stream.getvalue() == ""
    handler.handle(logging.LogRecord("x", logging.WARNING, "", 0, "second", (), None))
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["first", "second"]
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "third", (), None))
    handler.close()
    assert "third" in stream.getvalue()


async def test_every_call_leaves_one_line_without_payload_or_token(echo: EchoServer, output: io.StringIO) -> None:
    metadata = echo.server.as_user("u7")
    for text in ("very private text", "not found"):
        await invoke(echo.stub, "Unary", text, metadata=metadata, request_id="r9")
    await eventually(lambda: len(echo.server.spans) == 2)
    found = [line for line in lines(output) if line["logger"] == "candela.access"]
    assert [line["code"] for line in found] == ["OK", "NOT_FOUND"]
    for line in found:
        assert line["rpc_method"] == "kit_testing.v1.EchoService/Unary"
        assert (line["user_id"], line["request_id"]) == ("u7", "r9")
        assert 0 < line["duration_ms"] < 5000
    assert [(line["trace_id"], line["span_id"]) for line in found] == [ids(span) for span in echo.server.spans]
    assert "very private" not in output.getvalue()
    assert metadata[0][1].split()[1] not in output.getvalue()


async def test_the_handlers_own_lines_know_the_call(echo: EchoServer, output: io.StringIO) -> None:
    await invoke(echo.stub, "Unary", "crash", metadata=echo.server.as_user("u8"))
    failed = next(line for line in lines(output) if line["logger"] == "services.kit.pipeline.failures")
    span = await echo.server.last_span()
    assert failed["trace_id"] == ids(span)[0]
    assert not trace.get_current_span().get_span_context().is_valid
