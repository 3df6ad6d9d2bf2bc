"""Where the peers are installed, which version, and why one is not."""

import os
import re
import sys
from pathlib import Path

from tests.bench.inference.works import WORKLOADS

REPOSITORY = Path(__file__).parents[3]
HOME = REPOSITORY / "build" / "bench"
_PACKAGES = {"litserve": "litserve", "mosec": "mosec", "bentoml": "bentoml", "triton": "nvidia-pytriton"}
PEERS = tuple(_PACKAGES)


def python_of(peer: str) -> Path:
    """Return the interpreter of a peer's environment."""
    return HOME / peer / "bin" / "python"


def site_of(peer: str) -> Path:
    """Return where a peer's packages lie."""
    return HOME / peer / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def missing(peer: str) -> str:
    """Return why a peer cannot be measured here; empty when it can."""
    if (HOME / peer / ".fits").exists():
        return ""
    reason = HOME / f"{peer}.unavailable"
    return reason.read_text(encoding="utf-8").strip() if reason.exists() else "not installed: make bench-env"


def version_of(peer: str) -> str:
    """Return a peer's version as its lock pins it."""
    lock = (REPOSITORY / "requirements" / f"bench-{peer}.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(_PACKAGES[peer])}==(\S+)", lock, re.MULTILINE)
    return found[1] if found else "unknown"


def versions() -> str:
    """Return one line with all peers: their versions, or why one is not measured."""
    return "; ".join(
        f"{peer} {version_of(peer)}" + (f" not available ({why})" if (why := missing(peer)) else "") for peer in PEERS
    )


def orders(workload: str, port: int, counts: Path, deadline: float = 0.0) -> dict[str, str]:
    """Return the environment of a peer's process."""
    if workload not in WORKLOADS:
        raise ValueError(f"there is no workload {workload}")
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUNBUFFERED": "1",
        "CANDELA_BENCH_PORT": str(port),
        "CANDELA_BENCH_WORKLOAD": workload,
        "CANDELA_BENCH_COUNTS": str(counts),
        "CANDELA_BENCH_DEADLINE": str(deadline),
    }
