"""The parent's side of the fenced-in PDF processes."""

import asyncio
import json
import os
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from services.kit.errors import InvalidArgument
from services.recognition.domain.media import PageImage, check_pixels, unreadable

_WORKER = "services.recognition.providers.pdf_worker"
# Parsing a file and rendering a page take well under a second; past this the file is taken as hostile.
_STEP_SECONDS = 30.0
_MAX_FRAME_BYTES = 160_000_000


class PdfProcesses:
    """Starts a process per document, a few at a time."""

    def __init__(self, concurrent: int = 2, step_seconds: float = _STEP_SECONDS) -> None:
        """At most `concurrent` processes run; each step of one (opening, a page) may take `step_seconds`."""
        self._slots = asyncio.Semaphore(concurrent)
        self._step_seconds = step_seconds

    @asynccontextmanager
    async def open(self, content: bytes) -> AsyncIterator["PdfDocument"]:
        """Start a process for a PDF and end it with the block, whatever happens inside."""
        async with self._slots:
            worker = (sys.executable, "-m", _WORKER)
            process = await asyncio.create_subprocess_exec(
                *worker, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment()
            )
            try:
                document = PdfDocument(process, self._step_seconds)
                await document.load(content)
                yield document
            finally:
                await _end(process)


def _environment() -> dict[str, str]:
    """Return what the worker needs to find its modules, and none of the service's settings or secrets."""
    return {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.defpath, "LANG": "C.UTF-8"}


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


class PdfDocument:
    """One PDF inside its process."""

    def __init__(self, process: Process, step_seconds: float) -> None:
        self._process = process
        self._step_seconds = step_seconds
        self._page_count = 0

    @property
    def page_count(self) -> int:
        return self._page_count

    async def load(self, content: bytes) -> None:
        """Hand the bytes over and learn the number of pages; InvalidArgument when PDFium cannot open them."""
        self._page_count = int((await self._ask(content))["pages"])

    async def pages(self, numbers: Sequence[int]) -> AsyncIterator[PageImage]:
        """Render pages one at a time, each when the one before has been taken."""
        for number in numbers:
            size = await self._ask(str(number).encode())
            width, height = int(size["width"]), int(size["height"])
            check_pixels(width, height)
            rgb = await self._answer()
            if len(rgb) != width * height * 3:
                raise unreadable(f"page {number} is damaged")
            yield PageImage(number, width, height, memoryview(rgb))

    async def _ask(self, payload: bytes) -> dict[str, int | str]:
        """Send one frame and return the JSON frame that answers it."""
        try:
            async with asyncio.timeout(self._step_seconds):
                answer: dict[str, int | str] = json.loads(await self._exchange(payload))
        except TimeoutError:
            raise unreadable("it takes too long") from None
        if "error" in answer:
            raise unreadable(str(answer["error"]))
        return answer

    async def _exchange(self, payload: bytes) -> bytes:
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101  opened with a pipe above
        # A worker that died shows at the read below, with the better message. (uvloop says RuntimeError by then.)
        with suppress(ConnectionError, RuntimeError):
            stdin.write(struct.pack(">I", len(payload)))
            stdin.write(payload)
            await stdin.drain()
        return await self._answer()

    async def _answer(self) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101  opened with a pipe above
        try:
            (length,) = struct.unpack(">I", await stdout.readexactly(4))
            if length > _MAX_FRAME_BYTES:
                raise unreadable("a page is too large")
            return await stdout.readexactly(length)
        except asyncio.IncompleteReadError:
            raise self._died() from None

    def _died(self) -> InvalidArgument:
        return unreadable("it makes the PDF reader fail")
