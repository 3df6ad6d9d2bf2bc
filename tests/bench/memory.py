"""How much memory the whole mesh takes: the proportional set size (PSS) of every process and its children.

Without models (`CANDELA_INFERENCE_MODELS=`) the mesh is left alone until it has settled; then PSS is read five times in
two seconds. PSS counts what processes share (libraries, pages of forks) once in sum. With models the same, then again
after pages of print were read.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.bench.figures import Figure, Outcome, table
from tests.support.edge import Edge
from tests.support.mesh import Mesh
from tests.support.printed_page import png
from tests.support.printed_pages import printed_page

_MEGABYTE = 1e6
_SETTLE_SECONDS = 3.0
_SAMPLES = 5
_SAMPLE_SECONDS = 0.4
_PAGES = 5
_MESH_LIMIT_MB = 500.0
_SERVICE_LIMIT_MB = 110.0
_SERVICES = ("user", "recognition", "inference")

Sample = Mapping[str, float]


def bench() -> Outcome:
    """Measure a mesh without models, then one with them."""
    with tempfile.TemporaryDirectory(prefix="candela-bench-") as folder:
        with Mesh.started(Path(folder), {"CANDELA_INFERENCE_MODELS": ""}) as mesh:
            bare = _samples(mesh)
        with Mesh.started(Path(folder)) as mesh:
            loaded = _samples(mesh)
            _read_pages(mesh, 1)
            one = _samples(mesh)
            _read_pages(mesh, _PAGES - 1)
            more = _samples(mesh)
    figures = [Figure("whole mesh, idle without models", "MB", _sums(bare), at_most=_MESH_LIMIT_MB, digits=0)]
    figures += [
        Figure(f"{name}, idle without models", "MB", _of(bare, name), at_most=_SERVICE_LIMIT_MB, digits=0)
        for name in _SERVICES
    ]
    figures += [
        Figure("whole mesh, models loaded", "MB", _sums(loaded), digits=0),
        Figure("whole mesh, after 1 page", "MB", _sums(one), digits=0),
        Figure(f"whole mesh, after {_PAGES} pages", "MB", _sums(more), digits=0),
    ]
    states = {"no models": bare, "models": loaded, "1 page": one, f"{_PAGES} pages": more}
    return Outcome(tuple(figures), tuple(_by_process(states)))


def _samples(mesh: Mesh) -> list[Sample]:
    time.sleep(_SETTLE_SECONDS)
    samples: list[Sample] = []
    for _ in range(_SAMPLES):
        samples.append({name: _pss(pid, alone=name == "supervisor") for name, pid in mesh.pids().items()})
        time.sleep(_SAMPLE_SECONDS)
    return samples


def _pss(pid: int, *, alone: bool) -> float:
    """Return a process's PSS in MB, with its children's unless `alone` (the supervisor's are processes of the mesh)."""
    process = psutil.Process(pid)
    total = 0.0
    for member in [process] if alone else [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a worker that has just ended
            total += float(member.memory_full_info().pss)
    return total / _MEGABYTE


def _read_pages(mesh: Mesh, count: int) -> None:
    with Edge(mesh.edge) as edge:
        edge.sign_up()
        for number in range(count):
            edge.recognize(png(printed_page("Pillow", 12, start=number * 20).image)).raise_for_status()


def _sums(samples: list[Sample]) -> tuple[float, ...]:
    return tuple(sum(sample.values()) for sample in samples)


def _of(samples: list[Sample], name: str) -> tuple[float, ...]:
    return tuple(sample[name] for sample in samples)


def _by_process(states: Mapping[str, list[Sample]]) -> list[str]:
    names = list(next(iter(states.values()))[0])
    rows = [("MB of PSS", *states)]
    rows += [(name, *(f"{statistics.median(_of(all_, name)):.1f}" for all_ in states.values())) for name in names]
    rows.append(("sum", *(f"{statistics.median(_sums(all_)):.1f}" for all_ in states.values())))
    return table(rows)
