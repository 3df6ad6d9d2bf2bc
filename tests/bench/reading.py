"""How well printed pages are read through the whole mesh, and how long that takes against the bare library.

Pages are A4 at 150 dpi in several fonts and sizes, filled with 500 to 900 words; a word is right when it comes back
exactly and in its place, and words too many count as wrong. The times are those of pages of 300 words: one client
process takes turns, the first call changing with each round, between `RapidOCR()(png)` in itself, the same PNG as JSON
over HTTP (base64 and JSON included) and as gRPC, both through Envoy to the running mesh. Nothing runs at the same time;
both have their default thread settings, and each has read pages before. Ratios are taken within each round.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
from rapidocr import RapidOCR

from candela.recognition.v1 import document_pb2, recognition_service_pb2, recognition_service_pb2_grpc
from tests.bench.figures import Figure, Outcome, percentile, table
from tests.bench.ocr_page import PAGES, part_right
from tests.support.edge import Edge
from tests.support.mesh import Mesh
from tests.support.printed_page import png
from tests.support.printed_pages import PROSE, printed_page

_TIMED = (("Pillow", 12), ("Vera", 11))
_TIMED_WORDS = 300
_ROUNDS = 5
_RIGHT_PERCENT = 98.0
_RATIO = 1.15
_LEAST_WORDS = 250

# Reads a PNG and returns the words in reading order.
Reader = Callable[[bytes], list[str]]


def bench() -> Outcome:
    """Read every page once for its words, and two of them in rounds for the time."""
    bare = _bare()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="candela-bench-"))
        mesh = stack.enter_context(Mesh.started(Path(folder)))
        edge = stack.enter_context(Edge(mesh.edge))
        edge.sign_up()
        over_grpc = stack.enter_context(_over_grpc(mesh, edge.token))
        readers = {"bare": bare, "JSON": _over_json(edge), "gRPC": over_grpc}
        right, rows = _accuracy(readers)
        times = [_rounds(readers, font, points) for font, points in _TIMED]
    figures = [Figure("words right, page", "%", tuple(right), at_least=_RIGHT_PERCENT, judged="worst")]
    for name in ("JSON", "gRPC"):
        ratios = [mesh / alone for page in times for mesh, alone in zip(page[name], page["bare"], strict=True)]
        figures.append(Figure(f"{name} through the mesh / bare call", "×", tuple(ratios), at_most=_RATIO))
    figures += [
        Figure(f"{name}, seconds a page", "s", tuple(s for page in times for s in page[name])) for name in readers
    ]
    return Outcome(tuple(figures), (*table(rows), "", *_times(times)))


def _accuracy(readers: dict[str, Reader]) -> tuple[list[float], list[tuple[str, ...]]]:
    """Read every page over JSON and with the bare library; return our percentages and a table's rows."""
    right: list[float] = []
    rows: list[tuple[str, ...]] = [("page", "words", "right", "bare right")]
    for font, points in PAGES:
        page = printed_page(font, points)
        if len(page.words) < _LEAST_WORDS:
            raise ValueError(f"{font} {points} pt has only {len(page.words)} words on a page")
        ours, bare = (100 * part_right(page, readers[name](png(page.image))) for name in ("JSON", "bare"))
        right.append(ours)
        rows.append((f"{font} {points:g} pt", str(len(page.words)), f"{ours:.2f} %", f"{bare:.2f} %"))
    return right, rows


def _rounds(readers: dict[str, Reader], font: str, points: float) -> dict[str, list[float]]:
    """Let the readers take turns; return the seconds of each call by reader."""
    content = png(printed_page(font, points, words=PROSE.split()[:_TIMED_WORDS]).image)
    order = list(readers)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for number in range(_ROUNDS):
        turn = number % len(order)
        for name in order[turn:] + order[:turn]:
            begun = time.perf_counter()
            readers[name](content)
            seconds[name].append(time.perf_counter() - begun)
    return seconds


def _times(times: Sequence[dict[str, list[float]]]) -> list[str]:
    rows: list[tuple[str, ...]] = [("seconds", "call", "smallest", "median", "largest")]
    for (font, points), page in zip(_TIMED, times, strict=True):
        for name, seconds in page.items():
            shown = (f"{percentile(seconds, percent):.2f}" for percent in (0, 50, 100))
            rows.append((f"{font} {points:g} pt", name, *shown))
    return table(rows, text=2)


def _bare() -> Reader:
    library = RapidOCR(params={"Global.log_level": "error"})

    def read(content: bytes) -> list[str]:
        found: Any = library(content)  # its type depends on what was asked for
        return " ".join(found.txts or ()).split()

    return read


def _over_json(edge: Edge) -> Reader:
    def read(content: bytes) -> list[str]:
        answer = edge.recognize(content).raise_for_status().json()
        pages = answer["document"]["pages"]
        return [w["text"] for p in pages for b in p["blocks"] for line in b["lines"] for w in line["words"]]

    return read


@contextmanager
def _over_grpc(mesh: Mesh, token: str) -> Iterator[Reader]:
    with grpc.insecure_channel(mesh.target) as channel:
        stub = recognition_service_pb2_grpc.RecognitionServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)

        def read(content: bytes) -> list[str]:
            request = recognition_service_pb2.RecognizeDocumentRequest(content=content)
            return _words(stub.RecognizeDocument(request, metadata=metadata, timeout=60).document)

        yield read


def _words(document: document_pb2.Document) -> list[str]:
    return [w.text for p in document.pages for b in p.blocks for line in b.lines for w in line.words]
