"""`make bench`: the kit's pipeline stays cheap."""

import re

import uvloop

from tests.bench.pipeline_cost import measure


def test_the_pipeline_costs_less_than_150_microseconds_with_a_span() -> None:
    text = uvloop.run(measure(1.0))
    print(text)  # the bench's result
    found = re.search(r"adds +(\d+) µs", text)
    assert found is not None
    assert int(found[1]) < 150
