"""Several of the largest pictures at once: they are all read, one after the other, in the memory of one."""

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
from PIL import Image

from tests.support.edge import Edge
from tests.support.mesh import Mesh

pytestmark = pytest.mark.timeout(300)

MIB = 2**20
# 49.7 megapixels, just under what is taken in; decoded 142 MiB.
_SIZE = (7000, 7100)


def largest(image_format: str, mode: str) -> bytes:
    out = io.BytesIO()
    Image.new(mode, _SIZE, 255).save(out, image_format, **({"method": 0} if image_format == "WEBP" else {}))
    return out.getvalue()


@contextmanager
def peak_of(pid: int) -> Iterator[list[int]]:
    """Watch a process; the list's one entry is the most resident memory it had, in bytes."""
    process, done, peak = psutil.Process(pid), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("image_format", "mode", "most"),
    [("PNG", "RGB", 500), ("PNG", "RGBA", 500), ("JPEG", "RGB", 500), ("WEBP", "RGB", 950)],
)
def test_the_largest_pictures_at_once(mesh: Mesh, image_format: str, mode: str, most: int) -> None:
    content = largest(image_format, mode)
    pid = mesh.pids()["recognition"]
    before = psutil.Process(pid).memory_info().rss
    with Edge(mesh.edge) as edge, ThreadPoolExecutor(4) as pool, peak_of(pid) as peak:
        edge.http.timeout = 200
        edge.sign_up()
        answers = list(pool.map(lambda _: edge.recognize(content).status_code, range(4)))
    assert answers == [200] * 4
    assert (peak[0] - before) / MIB < most
    assert mesh.pids()["recognition"] == pid
