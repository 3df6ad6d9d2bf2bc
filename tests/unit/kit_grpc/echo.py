"""The test service of echo.proto: its code, generated for this run, and a servicer that does as it is told."""

import asyncio
import importlib
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc_tools
from grpc_tools import protoc

from services.kit.call import current_call
from services.kit.errors import FieldViolation, NotFound, ResourceExhausted
from services.kit.server import Binding

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]


def _generate() -> tuple[Any, Any]:
    # The modules are loaded at once, so their files need not stay.
    with tempfile.TemporaryDirectory(prefix="kit-testing-") as folder:
        return _generate_into(folder)


def _generate_into(folder: str) -> tuple[Any, Any]:
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    roots = (_HERE / "protos", _ROOT / "protos/public", _ROOT / "protos/third_party", well_known)
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    arguments = ["protoc", *(f"-I{root}" for root in roots), *outputs, "kit_testing/v1/echo.proto"]
    if protoc.main(arguments) != 0:
        raise RuntimeError("echo.proto does not compile")
    sys.path.append(folder)
    importlib.invalidate_caches()
    try:
        messages = importlib.import_module("kit_testing.v1.echo_pb2")
        return messages, importlib.import_module("kit_testing.v1.echo_pb2_grpc")
    finally:
        sys.path.remove(folder)


pb, pb_grpc = _generate()


class Echo:
    """Answers with the text it got, or fails in the way that the text names."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()
        self.sent = 0

    async def _act(self, text: str, context: Any) -> Any:
        call = current_call()
        self.calls.append(call)
        self.started.set()
        match text:
            case "not found":
                raise NotFound("no such thing", metadata={"name": "x"})
            case "exhausted":
                violation = FieldViolation("items", "too many", "items.max")
                raise ResourceExhausted("slow down", violations=[violation], retry_after=1.5)
            case "crash":
                raise RuntimeError("the secret is hunter2")
            case "abort":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by hand")
            case "cancelled inside":
                raise asyncio.CancelledError
            case "timeout inside":
                raise TimeoutError("of its own")
            case "wait":
                await self._wait()
        return pb.EchoResponse(text=text, user=call.principal.user if call.principal else "")

    async def _wait(self) -> None:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def Unary(self, request: Any, context: Any) -> Any:
        return await self._act(request.text, context)

    Open = Internal = Admin = Unary

    async def ServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        before, _, text = request.text.rpartition("then ")
        for part in before.split():
            self.sent += 1
            yield pb.EchoResponse(text=part)
        yield await self._act(text, context)

    async def ClientStream(self, requests: Any, context: Any) -> Any:
        texts = [request.text async for request in requests]
        return await self._act(texts[-1] if texts else "", context)

    async def Bidi(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            yield await self._act(request.text, context)

    async def Events(self, request: Any, context: Any) -> AsyncIterator[Any]:
        before, _, text = request.text.rpartition("then ")
        seq = 0
        for part in before.split():
            seq += 1
            kind = "completed" if part == "completed" else "part"
            yield pb.EchoEvent(seq=seq, **{kind: pb.EchoResponse(text=part)})
        reply = await self._act(text, context)
        if text != "nothing":
            yield pb.EchoEvent(seq=seq + 1, completed=reply)


def binding(servicer: Echo) -> Binding:
    return Binding(pb_grpc.add_EchoServiceServicer_to_server, servicer)
