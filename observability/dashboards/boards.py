"""What the dashboards show. Metric names come from where they are declared, so that a renamed one takes them along.

`component` and `process` are labels of the scrape targets (observability/prometheus): what runs, and which of its
replicas. Gauges that every replica shows alike, such as Redis's memory, are read with `max`.
"""

from typing import Final

from observability.dashboards.gateway import GATEWAY
from observability.dashboards.inside import INFERENCE, STATE
from observability.dashboards.overview import OVERVIEW

BOARDS: Final = {"overview": OVERVIEW, "gateway": GATEWAY, "inference": INFERENCE, "state": STATE}
