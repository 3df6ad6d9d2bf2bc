"""The script that measures networks on a GPU works, on small networks and whatever device there is."""

from tests.bench.gpu_models import TINY, bench
from tests.support.binaries import requires_package


@requires_package("torch")
def test_every_network_is_measured_and_compared() -> None:
    outcome = bench(TINY)
    measured = {figure.what: figure.value for figure in outcome.figures}
    assert measured.keys() == {
        f"{name}, {count} in flight" for name in ("yolo11-detector", "crnn-reader") for count in (1, 4)
    }
    assert all(value > 0 for value in measured.values())
    compared = [line for line in outcome.details if line.startswith("in other company: ")]
    assert len(compared) == 2
    assert all("NOT_INVARIANT" not in line for line in compared), compared
