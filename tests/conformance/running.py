"""Runs a case: prepares it, asks through a door, compares, and looks at what is true afterwards."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.conformance.doors.door import Door, Question
from tests.conformance.matching import differences
from tests.conformance.outcome import Outcome, problems
from tests.conformance.people import People, Promote, Wire
from tests.conformance.suite import Case, Expected, Step
from tests.conformance.values import Scope
from tests.support.eventually import eventually_sync

_EVENTUALLY_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class World:
    """What cases run in: one mesh, the doors into it, and how somebody becomes an admin."""

    wire: Wire
    doors: Sequence[Door]
    promote: Promote


class Run:
    """One run of one case with its own people and names."""

    def __init__(self, case: Case, world: World) -> None:
        self._case = case
        self._wire = world.wire
        self._people = People(world.wire, world.promote)
        self._scope = Scope(self._people.facts)

    def prepare(self) -> None:
        """Take the steps that come before; AssertionError when one does not do what the case says."""
        for step in self._case.given:
            self._take(step)

    def question(self) -> Question:
        """Return the call that is tested."""
        case = self._case
        cancel = case.expected.value["after"] if case.expected.kind == "cancel" else None
        token = self._people.token(self._scope.resolved(case.who))
        return Question(case.method, self._scope.resolved(case.request), token, cancel, case.succeeds, case.query)

    def problems(self, outcome: Outcome) -> list[str]:
        """Return how an outcome differs from what the case says."""
        expected = Expected(self._case.expected.kind, self._scope.expected(self._case.expected.value))
        return [*problems(expected, outcome, self._case.method)]

    def finish(self) -> None:
        """Take the steps that come after; AssertionError when one does not do what the case says."""
        for step in self._case.then:
            self._take(step)

    def _take(self, step: Step) -> None:
        def attempt() -> bool:
            outcome = self._ask(step)
            expected = step.expected or Expected("reply", None)
            if step.expected is None:
                found = [] if outcome.failure is None else [f"it failed: {outcome.failure}"]
            else:
                value = self._scope.expected(expected.value)
                found = [*problems(Expected(expected.kind, value), outcome, step.method)]
            assert not found, f"step {step.method.name}: {found}"
            if step.keep:
                self._scope.keep(step.keep, outcome.messages[0])
            return True

        if step.eventually:
            eventually_sync(attempt, timeout=_EVENTUALLY_SECONDS)
        else:
            attempt()

    def _ask(self, step: Step) -> Outcome:
        token = self._people.token(self._scope.resolved(step.who))
        return self._wire.call(step.method, self._scope.resolved(step.request), token)


def run(case: Case, world: World) -> list[str]:
    """Run a case through every door that it can go through; return what was wrong, each with the door's name."""
    doors = [door for door in world.doors if door.name not in case.not_over]
    return [*(_apart(case, world, doors) if case.apart else _shared(case, world, doors))]


def _shared(case: Case, world: World, doors: Sequence[Door]) -> Iterator[str]:
    """Prepare once, ask through all doors, and hold the answers against each other as well."""
    one = Run(case, world)
    yield from _guarded("given", one.prepare)
    question = one.question()
    answers: list[tuple[str, Outcome]] = []
    for door in doors:
        if door.can(question):
            outcome = door.ask(question)
            answers.append((door.name, outcome))
            yield from (f"{door.name}: {problem}" for problem in one.problems(outcome))
    if case.expected.kind in ("reply", "stream"):
        first_name, first = answers[0]
        for name, outcome in answers[1:]:
            apart = differences(list(first.messages), list(outcome.messages))
            yield from (f"{name} and {first_name} do not agree: {found}" for found in apart)
    yield from _guarded("then", one.finish)


def _apart(case: Case, world: World, doors: Sequence[Door]) -> Iterator[str]:
    """Prepare anew for each door."""
    for door in doors:
        one = Run(case, world)
        yield from _guarded(f"{door.name}, given", one.prepare)
        question = one.question()
        if not door.can(question):
            continue
        outcome = door.ask(question)
        yield from (f"{door.name}: {problem}" for problem in one.problems(outcome))
        yield from _guarded(f"{door.name}, then", one.finish)


def _guarded(where: str, steps: Callable[[], Any]) -> Iterator[str]:
    try:
        steps()
    except AssertionError as error:
        yield f"{where}: {error}"
