"""What the supervision has to tell while the mesh runs, as a port: the terminal is one adapter, tests are another."""

from typing import Protocol

from supervisor.specs import ProcessSpec


class Reporter(Protocol):
    """Receives the news of the mesh in the order they happen."""

    def preparing(self, label: str) -> None:
        """A step before the start, such as a migration, begins."""

    def ready(self, spec: ProcessSpec, seconds: float, *, restarted: bool) -> None:
        """A process became healthy, so many seconds after it was started."""

    def died(self, spec: ProcessSpec, how: str, delay: float) -> None:
        """A process ended by itself; it starts again after `delay` seconds."""

    def failing(self, spec: ProcessSpec, failures: int, tail: list[str]) -> None:
        """A process failed many times within a minute; `tail` is what it printed last."""

    def unhealthy(self, spec: ProcessSpec, why: str) -> None:
        """A process that was healthy answers that it cannot serve, or no longer answers."""

    def warning(self, spec: ProcessSpec, level: str, message: str) -> None:
        """A process logged a warning or an error."""

    def stopping(self, names: list[str]) -> None:
        """These processes were asked to finish."""

    def overdue(self, spec: ProcessSpec, grace: float) -> None:
        """A process did not finish within its grace and was killed."""
