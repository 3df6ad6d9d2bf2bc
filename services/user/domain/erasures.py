"""Who was erased: what other services need to know to delete what they keep."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Erasure:
    """A user who is no more. The id says whose data must go, and nothing about the person."""

    tenant: str
    user: str
    time: datetime
