"""JSON unary through the full Envoy chain adds at most 0.6 ms at the median over direct gRPC."""

import pytest

from tests.bench.gateway_overhead import measure
from tests.support.binaries import requires_binary

LIMIT_MS = 0.6


@requires_binary("envoy")
@pytest.mark.timeout(120)
def test_overhead() -> None:
    overhead = measure()
    print(overhead)
    assert overhead.json_adds <= LIMIT_MS
