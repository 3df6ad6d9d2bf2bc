"""The first dashboard to look at: the edge, every service by rate, errors and duration, the processes."""

from typing import Final

from observability import names
from observability.dashboards.panels import Board, Panel, Query, Row
from observability.dashboards.queries import (
    CHOSEN,
    FAILED_PART,
    OUR_FAULT,
    REFUSED,
    quantile,
    quantiles,
    rate,
)

OVERVIEW: Final = Board(
    "candela-overview",
    "Candela: overview",
    (
        Row(
            "The edge",
            (
                Panel("Requests", (Query(rate(names.HTTP_REQUESTS)),), "reqps", "stat", 4, 5),
                Panel("Failed (5xx)", (Query(FAILED_PART),), "percentunit", "stat", 4, 5, red_from=0.01),
                Panel(
                    "p95",
                    (Query(quantile(0.95, names.HTTP_DURATION)),),
                    "s",
                    "stat",
                    4,
                    5,
                    "Streams count with their whole length.",
                ),
                Panel("Active users", (Query(f"max({names.ACTIVE_USERS.name})"),), "short", "stat", 4, 5),
                Panel("Processes down", (Query("count(up == 0) or vector(0)"),), "short", "stat", 4, 5, red_from=1),
                Panel("Redis", (Query(f"max({names.REDIS_MEMORY.name})"),), "bytes", "stat", 4, 5),
                Panel(
                    "Requests by status",
                    (Query(rate(names.HTTP_REQUESTS, by="status_code"), "{{status_code}}"),),
                    "reqps",
                ),
                Panel(
                    "Failed and refused",
                    (
                        Query(FAILED_PART, "5xx"),
                        Query(f"{rate(names.HTTP_REQUESTS, REFUSED)} / {rate(names.HTTP_REQUESTS)}", "4xx"),
                    ),
                    "percentunit",
                    red_from=0.01,
                ),
                Panel("Time to answer", quantiles(names.HTTP_DURATION), "s"),
            ),
        ),
        Row(
            "Services: rate, errors, duration",
            (
                Panel(
                    "Calls",
                    (Query(rate(names.RPC_REQUESTS, CHOSEN, "component"), "{{component}}"),),
                    "reqps",
                ),
                Panel(
                    "Failed calls",
                    (
                        Query(
                            f"{rate(names.RPC_REQUESTS, f'{CHOSEN},{OUR_FAULT}', 'component')} / "
                            f"{rate(names.RPC_REQUESTS, CHOSEN, 'component')}",
                            "{{component}}",
                        ),
                    ),
                    "percentunit",
                    says="Our fault: UNAVAILABLE, INTERNAL and the like.",
                    red_from=0.01,
                ),
                Panel(
                    "p95 of calls",
                    (Query(quantile(0.95, names.RPC_DURATION, CHOSEN, "component"), "{{component}}"),),
                    "s",
                ),
                Panel(
                    "In flight", (Query(f"sum by (process) ({names.RPC_IN_FLIGHT.name}{{{CHOSEN}}})", "{{process}}"),)
                ),
                Panel(
                    "Slowest methods (p95)",
                    (
                        Query(
                            f"topk(10, {quantile(0.95, names.RPC_DURATION, CHOSEN, 'service, method')})",
                            "{{service}}/{{method}}",
                        ),
                    ),
                    "s",
                ),
                Panel(
                    "Calls to other services, failed",
                    (
                        Query(
                            rate(names.CLIENT_REQUESTS, OUR_FAULT, "component, service"), "{{component}} → {{service}}"
                        ),
                    ),
                    "reqps",
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel("Memory", (Query("process_resident_memory_bytes", "{{process}}"),), "bytes"),
                Panel(
                    "CPU", (Query("rate(process_cpu_seconds_total[$__rate_interval])", "{{process}}"),), "percentunit"
                ),
                Panel(
                    "Restarts", (Query(f"increase({names.PROCESS_RESTARTS.name}[$__rate_interval])", "{{process}}"),)
                ),
                Panel("Healthy", (Query(names.PROCESS_UP.name, "{{process}}"),)),
                Panel(
                    "Disk of the data, free",
                    (Query(f"{names.DISK_FREE.name} / {names.DISK_SIZE.name}", "free"),),
                    "percentunit",
                ),
                Panel(
                    "Trace spans",
                    (
                        Query(f"rate({names.SPANS.name}[$__rate_interval])", "kept"),
                        Query(f"rate({names.SPANS_REFUSED.name}[$__rate_interval])", "refused"),
                        Query(f"rate({names.SPANS_LOST.name}[$__rate_interval])", "lost"),
                    ),
                ),
            ),
        ),
    ),
    (("component", f"label_values({names.RPC_REQUESTS.name}, component)"),),
)
