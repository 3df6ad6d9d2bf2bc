"""No field of a reply can go or change its name unseen: the comparator finds each such change in each case."""

from typing import Any, Final

import pytest

from tests.conformance.matching import Matcher, differences
from tests.conformance.mutation import Stage, copied, mutants, sample
from tests.conformance.outcome import Failure, Outcome, problems
from tests.conformance.suite import Case, Expected, load

_WITH_REPLY: Final = [case for case in load() if case.expected.kind in ("reply", "body", "stream")]
_WITH_ERROR: Final = [case for case in load() if case.expected.kind == "error"]
_TRACE: Final = "0123456789abcdef" * 2


def _messages(case: Case) -> list[Any]:
    """Return replies that fit the case, as they stand there."""
    value = Stage().expected(case.expected.value)
    if case.expected.kind != "stream":
        return [value]
    messages = value.get("messages", [])
    return messages if isinstance(messages, list) else [messages]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in _WITH_REPLY])
def test_a_field_that_is_gone_or_renamed_is_seen(case: Case) -> None:
    for expected in _messages(case):
        fitting = sample(expected)
        assert [*differences(expected, copied(fitting))] == [], "the sample itself must fit"
        unseen = [where for where, mutant in mutants(fitting) if not [*differences(expected, mutant)]]
        assert unseen == []


def test_there_are_fields_to_lose() -> None:
    fields = sum(len([*mutants(sample(one))]) for case in _WITH_REPLY for one in _messages(case))
    assert fields > 500


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in _WITH_ERROR])
def test_every_part_of_an_error_is_seen(case: Case) -> None:
    spec = Stage().expected(case.expected.value)
    expected = Expected("error", spec)
    fitting: dict[str, Any] = {
        "code": spec["code"],
        "message": "what is wrong",
        "reason": spec.get("reason", spec["code"]),
        "domain": "candela.dev",
        "metadata": sample(spec.get("metadata", {})),
        "violations": [
            {"field": "", "rule": "", "description": "why", **sample(one)} for one in spec.get("violations", [])
        ],
        "retry": spec.get("retry", False),
        "trace": _TRACE,
        "http": spec.get("http"),
    }
    assert [*problems(expected, Outcome(failure=Failure(**fitting)), case.method)] == []
    changes: list[dict[str, Any]] = [
        {"code": "UNKNOWN"},
        {"message": ""},
        {"reason": ""},
        {"domain": "else.where"},
        {"trace": ""},
        {"http": 299},
        {"metadata": {**fitting["metadata"], "more": "x"}},
        {"retry": not fitting["retry"]},
        {"violations": [*fitting["violations"], {"field": "more", "rule": "x", "description": "y"}]},
    ]
    changes += [{"metadata": mutant} for _, mutant in mutants(fitting["metadata"])]
    changes += [{"violations": fitting["violations"][1:]}] * bool(fitting["violations"])
    for change in changes:
        failure = Failure(**{**fitting, **change})
        assert [*problems(expected, Outcome(failure=failure), case.method)], change
    assert [*problems(expected, Outcome([{}]), case.method)], "no error at all"


@pytest.mark.parametrize(
    ("matcher", "good", "bad"),
    [
        ("$text", "a", ""),
        ("$text", "two\nlines", 1),
        ("$name(users)", "users/01", "sessions/01"),
        ("$name(users)", "users/a", "users/a/b"),
        ("$time", "2026-01-01T00:00:00.123456Z", "2026-01-01"),
        ("$duration", "0.123s", "-1s"),
        ("$integer", "31653", "1.5"),
        ("$number", 0.5, 0),
        ("$number(0, 1)", 0, 1.1),
        ("$number(0, 1)", "1", True),
        ("$bytes", "AAA=", ""),
        ("$sha256", "a" * 64, "a" * 63),
        ("$uuid", "00000000-0000-4000-8000-000000000000", "0"),
        ("$/[0-9]+/", "12", "12a"),
    ],
)
def test_a_matcher_takes_what_it_says(matcher: str, good: object, bad: object) -> None:
    assert Matcher(matcher).fits(good)
    assert not Matcher(matcher).fits(bad)


@pytest.mark.parametrize("text", ["$nothing", "$time(soon)", "$number(a, b)", "$"])
def test_a_matcher_that_does_not_exist_is_no_silent_pass(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Matcher(text).fits("2026-01-01T00:00:00Z" if "time" in text else "1")


@pytest.mark.parametrize(
    ("expected", "good", "bad"),
    [
        ({"$each": {"a": 1}}, [{"a": 1}, {"a": 1}], []),
        ({"$each": {"a": 1}, "$count": 1}, [{"a": 1}], [{"a": 1}, {"a": 1}]),
        ({"$each": {"a": 1}}, [{"a": 1}], [{"a": 1}, {"a": 2}]),
        ({"$includes": [{"a": 1}, {"a": 2}]}, [{"a": 0}, {"a": 1}, {"a": 2}], [{"a": 2}, {"a": 1}]),
        ([1, 2], [1, 2], [2, 1]),
        ({"a": 0.1}, {"a": 0.10000000149}, {"a": 0.101}),
        ({"a": True}, {"a": True}, {"a": 1}),
        ({"a": "1"}, {"a": "1"}, {"a": 1}),
        ({"$some": 1}, None, [1]),
    ],
)
def test_lists_and_values_are_compared_exactly(expected: object, good: object, bad: object) -> None:
    if good is not None:
        assert [*differences(expected, good)] == []
    assert [*differences(expected, bad)]
