"""The dashboards of what callers do not see: the inference server, databases, Redis."""

from typing import Final

from inference_server import names as inference
from observability import names
from observability.dashboards.panels import Board, Panel, Query, Row
from observability.dashboards.queries import (
    CHOSEN_MODEL,
    mean,
    quantile,
    quantiles,
    rate,
)

_ENDED: Final = f"rate({inference.TENANT_ITEMS.name}{{{CHOSEN_MODEL}}}[$__rate_interval])"
_REFUSED: Final = _ENDED.replace(CHOSEN_MODEL, f'{CHOSEN_MODEL}, outcome="{inference.REFUSED}"')
_RAN: Final = f'{CHOSEN_MODEL}, outcome=~"{inference.DONE}|{inference.FAILED}"'
_BUSY: Final = f"sum by (model) (rate({inference.COMPUTE_SECONDS.name}_sum{{{CHOSEN_MODEL}}}[$__rate_interval]))"

INFERENCE: Final = Board(
    "candela-inference",
    "Candela: inference",
    (
        Row(
            "Queue",
            (
                Panel(
                    "Waiting items",
                    (Query(f"sum by (model) ({inference.WAITING.name}{{{CHOSEN_MODEL}}})", "{{model}}"),),
                ),
                Panel("Time in the queue", quantiles(inference.QUEUE_SECONDS, CHOSEN_MODEL), "s"),
                Panel(
                    "Refused",
                    (Query(rate(inference.REFUSALS, CHOSEN_MODEL, "model, reason"), "{{model}} {{reason}}"),),
                    "reqps",
                    says="Requests by reason; docs/inference.md says what each means. `queue_full`: no room.",
                ),
            ),
        ),
        Row(
            "Batches",
            (
                Panel(
                    "Items in a batch",
                    (
                        Query(mean(inference.BATCH_ITEMS, "model"), "{{model}}"),
                        Query(f"max by (model) ({inference.BEST_BATCH.name}{{{CHOSEN_MODEL}}})", "best {{model}}"),
                    ),
                    says="The mean, and what was measured to be best for the busiest shape.",
                ),
                Panel(
                    "Sizes of batches",
                    (
                        Query(quantile(0.5, inference.BATCH_ITEMS, CHOSEN_MODEL, "model"), "p50 {{model}}"),
                        Query(quantile(0.95, inference.BATCH_ITEMS, CHOSEN_MODEL, "model"), "p95 {{model}}"),
                    ),
                ),
                Panel("Time to compute", quantiles(inference.COMPUTE_SECONDS, CHOSEN_MODEL), "s"),
            ),
        ),
        Row(
            "Items",
            (
                Panel(
                    "Finished",
                    (Query(rate(inference.ITEMS, CHOSEN_MODEL, "model, outcome"), "{{model}} {{outcome}}"),),
                    "reqps",
                    width=12,
                ),
                Panel(
                    "Busy",
                    (
                        Query(
                            _BUSY,
                            "{{model}}",
                        ),
                    ),
                    "percentunit",
                    width=12,
                    says="Part of the time in which a model computed.",
                ),
                Panel(
                    "Refused part",
                    (Query(f"sum by (model) ({_REFUSED}) / sum by (model) ({_ENDED})", "{{model}}"),),
                    "percentunit",
                    says="Of all items that came.",
                    red_from=0.05,
                ),
                Panel(
                    "Batches that failed whole",
                    (Query(rate(inference.BATCH_FAILURES, CHOSEN_MODEL, "model"), "{{model}}"),),
                    "reqps",
                    says="The model is at fault, or a batch of one had a bad item.",
                ),
                Panel(
                    "Ready",
                    (Query(f"min by (model) ({inference.READY.name}{{{CHOSEN_MODEL}}})", "{{model}}"),),
                    says="0 where a replica is to answer for the model and does not.",
                ),
            ),
        ),
        Row(
            "Tenants",
            (
                Panel(
                    "Finished",
                    (Query(f"sum by (tenant) ({_ENDED.replace(CHOSEN_MODEL, _RAN)})", "{{tenant}}"),),
                    "reqps",
                    width=8,
                    says="Items that ran. The busiest tenants have a line, all others are `other`.",
                ),
                Panel(
                    "Compute time",
                    (Query(rate(inference.TENANT_COMPUTE, CHOSEN_MODEL, "tenant"), "{{tenant}}"),),
                    "percentunit",
                    width=8,
                    says="Their part of the batches' time: what fair sharing shares.",
                ),
                Panel(
                    "Refused",
                    (Query(f"sum by (tenant) ({_REFUSED})", "{{tenant}}"),),
                    "reqps",
                    width=8,
                ),
            ),
        ),
    ),
    (("model", f"label_values({inference.WAITING.name}, model)"),),
)

STATE: Final = Board(
    "candela-state",
    "Candela: databases and Redis",
    (
        Row(
            "Databases",
            (
                Panel(
                    "Connections in use",
                    (Query(names.DATABASE_CONNECTIONS.name, "{{process}}"),),
                    width=12,
                    says="Each process has up to 20; the alert comes above 15.",
                    red_from=15,
                ),
                Panel(
                    "Calls in flight",
                    (Query(f"sum by (process) ({names.RPC_IN_FLIGHT.name})", "{{process}}"),),
                    width=12,
                    says="Many calls and few connections: the pool is not what they wait for.",
                ),
            ),
        ),
        Row(
            "Redis",
            (
                Panel("Memory", (Query(f"max({names.REDIS_MEMORY.name})", "used"),), "bytes", width=12),
                Panel(
                    "Age of the revoked sessions",
                    (Query(names.REVOCATIONS_AGE.name, "{{process}}"),),
                    "s",
                    width=12,
                    says="From 5 s on calls with a token are refused.",
                    red_from=2,
                ),
            ),
        ),
        Row(
            "Users", (Panel("Active within 24 hours", (Query(f"max({names.ACTIVE_USERS.name})", "users"),), width=24),)
        ),
    ),
)
