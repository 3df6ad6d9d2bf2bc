"""How well and how fast printed pages are read: `PYTHONPATH=.:clients/python/src python -m tests.bench.ocr_page`.

Prints, for A4 pages in several fonts and sizes, the part of the words that come back exactly right and in reading
order, and the time of our recognition (detection, crops, recognition, reading order; all over gRPC to a real server)
against the bare `RapidOCR()(image)` call on the same picture. The two take turns in one process; times are medians.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from opentelemetry.trace import NoOpTracer
from rapidocr import RapidOCR

from candela.inference.v1 import ocr_service_pb2, ocr_service_pb2_grpc
from inference_server.api.ocr import OcrServicer
from inference_server.host import ModelHost
from inference_server.models.source import BuiltIn
from inference_server.settings import InferenceSettings
from services.kit.clock import SystemClock
from services.kit.server import Binding
from services.recognition.domain.layout import reading_order
from services.recognition.domain.media import PageImage
from services.recognition.providers.ocr import OcrPageReader
from tests.support.grpc_server import RunningServer, running_server
from tests.support.printed_pages import PrintedPage, printed_page

# Each has at least 250 words.
PAGES = (("Pillow", 11), ("Pillow", 12), ("Vera", 11), ("Vera", 12), ("VeraIt", 12), ("VeraBd", 11), ("Pillow", 14))


@dataclass(frozen=True, slots=True)
class Figures:
    """What one page gave: words on it, the part read right, and median seconds of ours and of the bare call."""

    page: str
    words: int
    right: float
    bare_right: float
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


class _Calls:
    """The two calls, made by a service to a server that listens."""

    def __init__(self, server: RunningServer) -> None:
        self._stub: ocr_service_pb2_grpc.OcrServiceAsyncStub = ocr_service_pb2_grpc.OcrServiceStub(server.channel)
        self._metadata: Any = server.as_service("recognition")

    async def detect(self, request: ocr_service_pb2.DetectTextRequest) -> ocr_service_pb2.DetectTextResponse:
        return await self._stub.DetectText(request, metadata=self._metadata)

    async def recognize(self, request: ocr_service_pb2.RecognizeTextRequest) -> ocr_service_pb2.RecognizeTextResponse:
        return await self._stub.RecognizeText(request, metadata=self._metadata)


@asynccontextmanager
async def reader() -> AsyncIterator[OcrPageReader]:
    """A page reader over a running inference server with its default settings."""
    settings = InferenceSettings(listen="127.0.0.1:0", metrics_port=0)
    host = ModelHost([BuiltIn()], SystemClock(), NoOpTracer(), runtimes=settings.runtimes)
    await host.start(["ppocr-det", "ppocr-rec"])
    binding = Binding(ocr_service_pb2_grpc.add_OcrServiceServicer_to_server, OcrServicer(host))
    async with running_server(binding, service="inference", settings=settings) as server:
        yield OcrPageReader(_Calls(server))
    await host.close(5.0)


async def measure(ocr: OcrPageReader, bare: RapidOCR, fonts: Sequence[tuple[str, float]], rounds: int) -> list[Figures]:
    """Return the figures of one page for each font and size in points."""
    return [await _page(ocr, bare, font, points, rounds) for font, points in fonts]


async def _page(ocr: OcrPageReader, bare: RapidOCR, font: str, points: float, rounds: int) -> Figures:
    page = printed_page(font, points)
    pixels = np.ascontiguousarray(np.asarray(page.image)[:, :, ::-1])
    picture = PageImage(1, page.image.width, page.image.height, memoryview(page.image.tobytes()))
    ours: list[float] = []
    bares: list[float] = []
    found: list[str] = []
    bare_found: list[str] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        read = await ocr.read(picture)
        blocks = reading_order(read.lines)
        ours.append(time.perf_counter() - begun)
        found = [word.text for block in blocks for line in block.lines for word in line.words]
        begun = time.perf_counter()
        plain: Any = bare(pixels)  # its type depends on what was asked for
        bares.append(time.perf_counter() - begun)
        bare_found = " ".join(plain.txts or ()).split()
    return Figures(
        f"{font} {points:g} pt",
        len(page.words),
        part_right(page, found),
        part_right(page, bare_found),
        statistics.median(ours),
        statistics.median(bares),
    )


def part_right(page: PrintedPage, found: Sequence[str]) -> float:
    """Return the part of words that match exactly and in order; words too many count against it too."""
    blocks = SequenceMatcher(a=page.words, b=found, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(len(page.words), len(found))


async def main() -> None:
    """Measure and print one line a page and a summary."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3, help="turns for each page")
    options.add_argument("--pages", type=int, default=len(PAGES), help="how many of the fonts and sizes")
    chosen = options.parse_args()
    bare = RapidOCR()
    async with reader() as ocr:
        await measure(ocr, bare, PAGES[:1], 1)  # both have seen a page before it counts
        figures = await measure(ocr, bare, PAGES[: chosen.pages], chosen.rounds)
    print(f"{'page':14} {'words':>5} {'right':>8} {'bare right':>10} {'ours':>7} {'bare':>7} {'ratio':>6}")
    for one in figures:
        print(
            f"{one.page:14} {one.words:5} {one.right:8.2%} {one.bare_right:10.2%} "
            f"{one.ours:6.2f}s {one.bare:6.2f}s {one.ratio:6.2f}"
        )
    right = sum(one.right * one.words for one in figures) / sum(one.words for one in figures)
    ratio = statistics.median(one.ratio for one in figures)
    print(f"all pages: {right:.2%} of the words right, {ratio:.2f} of the bare call's time (median)")


if __name__ == "__main__":
    asyncio.run(main())
