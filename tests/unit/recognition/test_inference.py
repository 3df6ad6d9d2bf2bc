"""Calls to an inference server that restarts are made again; one that stays away is not waited for."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from candela.inference.v1 import ocr_service_pb2
from services.kit.clock import ManualClock
from services.kit.errors import InvalidArgument, Unavailable
from services.recognition.providers.inference import InferenceOcr

DETECT = ocr_service_pb2.DetectTextRequest()
READ = ocr_service_pb2.RecognizeTextRequest()


@dataclass
class ScriptedServer:
    """The end of a channel: each call takes 5 s on the clock and ends as the script says; then all succeed."""

    clock: ManualClock
    script: list[Exception | None] = field(default_factory=list)
    calls: int = 0

    def unary_unary(self, method: str, *_: Any, **__: Any) -> Any:
        async def call(_request: Any) -> Any:
            self.calls += 1
            self.clock.advance(5)
            failure = self.script.pop(0) if self.script else None
            if failure is not None:
                raise failure
            if method.endswith("/DetectText"):
                return ocr_service_pb2.DetectTextResponse()
            return ocr_service_pb2.RecognizeTextResponse()

        return call


@pytest.fixture
def server() -> ScriptedServer:
    return ScriptedServer(ManualClock())


@pytest.fixture
def ocr(server: ScriptedServer) -> InferenceOcr:
    channel: grpc.aio.Channel = server  # type: ignore[assignment]  # the one method that a stub needs
    return InferenceOcr(channel, server.clock, restart_seconds=15, pause_seconds=0)


async def test_a_restart_in_the_middle_of_a_document_is_waited_out(server: ScriptedServer, ocr: InferenceOcr) -> None:
    server.script = [None, Unavailable("drains"), Unavailable("starts")]
    await ocr.detect(DETECT)
    await ocr.recognize(READ)
    assert server.calls == 4


async def test_a_server_that_stays_away_is_not_waited_for_twice(server: ScriptedServer, ocr: InferenceOcr) -> None:
    await ocr.detect(DETECT)
    server.script = [Unavailable("gone")] * 10
    with pytest.raises(Unavailable):
        await ocr.recognize(READ)
    tried = server.calls
    assert tried > 2
    with pytest.raises(Unavailable):
        await ocr.recognize(READ)
    assert server.calls == tried + 1
    server.script = []
    await ocr.recognize(READ)
    server.script = [Unavailable("again")]
    await ocr.recognize(READ)


async def test_a_restart_is_waited_out_after_a_failure_whose_caller_left(
    server: ScriptedServer, ocr: InferenceOcr
) -> None:
    await ocr.detect(DETECT)
    server.script = [Unavailable("drains")]
    leaving = asyncio.create_task(ocr.detect(DETECT))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    server.clock.advance(3600)
    server.script = [Unavailable("drains")]
    await ocr.detect(DETECT)


async def test_a_server_that_never_answered_is_not_waited_for(server: ScriptedServer, ocr: InferenceOcr) -> None:
    server.script = [Unavailable("no model is loaded")] * 2
    with pytest.raises(Unavailable):
        await ocr.detect(DETECT)
    assert server.calls == 1


async def test_other_failures_are_told_at_once(server: ScriptedServer, ocr: InferenceOcr) -> None:
    await ocr.detect(DETECT)
    server.script = [InvalidArgument("no")]
    with pytest.raises(InvalidArgument):
        await ocr.detect(DETECT)
    assert server.calls == 2
