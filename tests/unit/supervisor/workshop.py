"""Small real processes and a probe that is told what to find."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from services.kit.clock import SystemClock
from supervisor.probes import Health
from supervisor.specs import HttpOk, Probe, ProcessSpec
from supervisor.supervised import Patience, Surroundings

# Ignores SIGTERM when told to, appends what happens to it to a file, and says it is ready by making another file.
PROGRAM = """
import os, signal, sys, time
name, folder, behaviour = sys.argv[1:4]
def tell(what):
    with open(f"{folder}/events", "a") as events:
        events.write(f"{name} {what}\\n")
def on_term(number, frame):
    tell("term")
    if behaviour != "stubborn":
        tell("end")
        sys.exit(0)
signal.signal(signal.SIGTERM, on_term)
if behaviour == "broken":
    print("it is broken: no such thing", flush=True)
    sys.exit(3)
tell(f"start {os.getpid()}")
open(f"{folder}/{name}.ready", "w").write(str(os.getpid()))
if behaviour == "dying":
    print("it is dying", flush=True)
    time.sleep(0.1)
    os.abort()
while True:
    time.sleep(60)
"""


@dataclass
class Recorder:
    """The reporter of tests: a list of what happened."""

    events: list[tuple[str, ...]] = field(default_factory=list)

    def preparing(self, label: str) -> None:
        self.events.append(("preparing", label))

    def ready(self, spec: ProcessSpec, seconds: float, *, restarted: bool) -> None:
        self.events.append(("again" if restarted else "ready", spec.name))

    def died(self, spec: ProcessSpec, how: str, delay: float) -> None:
        self.events.append(("died", spec.name, how))

    def failing(self, spec: ProcessSpec, failures: int, tail: list[str]) -> None:
        self.events.append(("failing", spec.name, *tail))

    def unhealthy(self, spec: ProcessSpec, why: str) -> None:
        self.events.append(("unhealthy", spec.name, why))

    def warning(self, spec: ProcessSpec, level: str, message: str) -> None:
        self.events.append(("warning", spec.name, level, message))

    def stopping(self, names: list[str]) -> None:
        self.events.append(("stopping", *sorted(names)))

    def overdue(self, spec: ProcessSpec, grace: float) -> None:
        self.events.append(("overdue", spec.name))


@dataclass
class FileProbe:
    """Healthy while the file `NAME.ready` names a process that lives; `answers` overrides it."""

    folder: Path
    name: str
    answers: dict[str, Health]

    async def check(self) -> Health:
        if self.name in self.answers:
            return self.answers[self.name]
        try:
            os.kill(int((self.folder / f"{self.name}.ready").read_text()), 0)
        except (OSError, ValueError):
            return Health.UNREACHABLE
        return Health.HEALTHY

    async def close(self) -> None:
        """Keep nothing."""


@dataclass
class Workshop:
    """Makes specs of small processes and the surroundings they run in."""

    folder: Path
    reporter: Recorder = field(default_factory=Recorder)
    answers: dict[str, Health] = field(default_factory=dict)

    def spec(
        self,
        name: str,
        behaviour: str = "good",
        *,
        stage: int = 0,
        grace: float = 5.0,
        depends_on: tuple[str, ...] = (),
    ) -> ProcessSpec:
        argv = (sys.executable, "-I", "-S", "-c", PROGRAM, name, str(self.folder), behaviour)
        probe = HttpOk(port=0, path=name)
        return ProcessSpec(name, argv, probe, "nowhere", stage, grace=grace, depends_on=depends_on)

    def around(self, patience: Patience | None = None) -> Surroundings:
        def prober(probe: Probe) -> FileProbe:
            assert isinstance(probe, HttpOk)
            return FileProbe(self.folder, probe.path, self.answers)

        return Surroundings(
            env={},
            cwd=self.folder,
            logs=self.folder,
            clock=SystemClock(),
            reporter=self.reporter,
            patience=patience or Patience(starting_interval=0.01, watch_interval=0.02),
            prober=prober,
        )

    def events(self) -> list[str]:
        try:
            return (self.folder / "events").read_text().splitlines()
        except FileNotFoundError:
            return []
