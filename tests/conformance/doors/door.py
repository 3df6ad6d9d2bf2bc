"""What a way into Candela can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.conformance.contract import Method
from tests.conformance.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Question:
    """One call: the request in ProtoJSON, the token (empty: none), and after how many messages the caller goes away.

    `succeeds` says that it must come to a good end, so that a client has to be able to make it. `query` is more that a
    script may write into an address, which only JSON has.
    """

    method: Method
    request: Any
    token: str = ""
    cancel_after: int | None = None
    succeeds: bool = True
    query: Mapping[str, str] = field(default_factory=dict)


class Door(Protocol):
    """One client in one language over one protocol."""

    @property
    def name(self) -> str: ...

    def can(self, question: Question) -> bool:
        """Tell whether the client has a way to do this; the README says which has not."""

    def ask(self, question: Question) -> Outcome:
        """Make the call and wait for its end. What the call fails with is part of the outcome, never raised."""
