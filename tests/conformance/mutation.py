"""Replies that fit a case, and the same replies with one field dropped or renamed."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from hypothesis import find, settings
from hypothesis.strategies import from_regex

from tests.conformance.matching import Matcher
from tests.conformance.values import Scope, UnknownReferenceError

# Stands for a reply that a step would have kept. What it holds does not matter: it is compared as it is.
_KEPT: Final = {"name": "kept", "inner": {"list": [{"value": 1}, {"value": 2}]}}
_PERSON: Final = {
    name: f"somebody's {name}" for name in ("email", "password", "name", "id", "session", "accessToken", "refreshToken")
}


class Stage(Scope):
    """A scope without a mesh: whoever and whatever a case mentions is there."""

    def __init__(self) -> None:
        super().__init__(lambda _: _PERSON)

    def _look_up(self, reference: str) -> Any:
        try:
            return super()._look_up(reference)
        except UnknownReferenceError:
            return "kept" if "." in reference and "inner" not in reference else _KEPT


def sample(expected: Any) -> Any:
    """Return a value that fits what a case expects."""
    if isinstance(expected, Matcher):
        return expected.sample() or _text_like(expected.text[2:-1])
    if isinstance(expected, Mapping):
        if "$each" in expected:
            return [sample(expected["$each"]) for _ in range(expected.get("$count", 1))]
        if "$includes" in expected:
            return [sample(one) for one in expected["$includes"]]
        return {name: sample(inner) for name, inner in expected.items()}
    if isinstance(expected, list):
        return [sample(one) for one in expected]
    return expected


@cache
def _text_like(pattern: str) -> str:
    """Return a text that a regular expression fits as a whole."""
    return find(from_regex(pattern, fullmatch=True), lambda _: True, settings=settings(max_examples=1))


def mutants(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield copies of a ProtoJSON value with one field, at any depth, missing or under another name; and where."""
    if isinstance(value, dict):
        for name, inner in value.items():
            rest = {other: copied for other, copied in value.items() if other != name}
            yield f"without {path}.{name}", rest
            yield f"another name for {path}.{name}", {**rest, f"{name}X": inner}
            yield from ((where, {**value, name: mutant}) for where, mutant in mutants(inner, f"{path}.{name}"))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            for where, mutant in mutants(inner, f"{path}[{number}]"):
                yield where, [*value[:number], mutant, *value[number + 1 :]]


def copied(value: Any) -> Any:
    """Return a value that shares nothing with the given one."""
    return json.loads(json.dumps(value))
