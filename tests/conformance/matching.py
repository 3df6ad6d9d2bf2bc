"""Compares what came with what must come. It names every difference, so that a failing case says what to look at."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_LENIENCE: Final = timedelta(minutes=2)
_FLOAT_TOLERANCE: Final = 1e-6  # languages print 32-bit floats with different numbers of digits
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MATCHER: Final = re.compile(r"\$(?P<name>[a-z0-9]+)(?:\((?P<argument>[^()]*)\))?")
_TIME: Final = re.compile(r"now(?:\s*(?P<sign>[+-])\s*(?P<count>\d+)(?P<unit>[smhd]))?")
_ID: Final = "[A-Za-z0-9_-]{1,64}"

# Matcher → what its text must look like.
_PATTERNS: Final = {
    "text": re.compile(r".+", re.DOTALL),
    "duration": re.compile(r"\d+(\.\d+)?s"),
    "bytes": re.compile(r"[A-Za-z0-9+/_-]+=*"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
    "uuid": re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"),
    "jwt": re.compile(r"([A-Za-z0-9_-]{10,}\.){2}[A-Za-z0-9_-]{10,}"),
}
_SAMPLES: Final = {
    "text": "text",
    "duration": "0.5s",
    "bytes": "AAAA",
    "sha256": "0" * 64,
    "uuid": "00000000-0000-4000-8000-000000000000",
    "jwt": "aaaaaaaaaa.bbbbbbbbbb.cccccccccc",
}


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a value must be like, as the case wrote it: `$text`, `$number(0, 1)`, `$/[0-9]+/`."""

    text: str

    def fits(self, value: Any) -> bool:
        """Tell whether a value is like this; raises ValueError when there is no such matcher."""
        if self.text.startswith("$/"):
            return isinstance(value, str) and re.fullmatch(self.text[2:-1], value) is not None
        name, argument = self._parts()
        if name in _PATTERNS:
            return isinstance(value, str) and _PATTERNS[name].fullmatch(value) is not None
        if name == "name":
            return isinstance(value, str) and re.fullmatch(f"{re.escape(argument)}/{_ID}", value) is not None
        if name == "time":
            return _is_time(value, argument)
        if name in ("integer", "number"):
            return _is_number(value, argument, whole=name == "integer")
        raise ValueError(f"there is no {self.text}")

    def sample(self) -> Any:
        """Return a value that fits; None for a regular expression, which has no simple one."""
        if self.text.startswith("$/"):
            return None
        name, argument = self._parts()
        if name == "time":
            return (_moment(argument) if argument else datetime.now(UTC)).isoformat().replace("+00:00", "Z")
        if name in ("integer", "number"):
            return float(argument.partition(",")[2]) if argument else 1
        return f"{argument}/sample" if name == "name" else _SAMPLES[name]

    def _parts(self) -> tuple[str, str]:
        found = _MATCHER.fullmatch(self.text)
        if found is None:
            raise ValueError(f"there is no {self.text}")
        return found["name"], (found["argument"] or "").strip()


def differences(expected: Any, actual: Any, path: str = "") -> Iterator[str]:
    """Yield how `actual` differs from `expected`, which may hold matchers; nothing when it fits."""
    if isinstance(expected, Matcher):
        if not expected.fits(actual):
            yield f"{path or '.'}: {actual!r} is not {expected.text}"
    elif isinstance(expected, Mapping) and any(str(key).startswith("$") for key in expected):
        yield from _list_differences(expected, actual, path)
    elif isinstance(expected, Mapping):
        yield from _object_differences(expected, actual, path)
    elif isinstance(expected, Sequence) and not isinstance(expected, str):
        yield from _sequence_differences(expected, actual, path)
    elif not _equal(expected, actual):
        yield f"{path or '.'}: {actual!r} is not {expected!r}"


def _object_differences(expected: Mapping[str, Any], actual: Any, path: str) -> Iterator[str]:
    if not isinstance(actual, Mapping):
        yield f"{path or '.'}: {actual!r} is no object"
        return
    for name in expected.keys() - actual.keys():
        yield f"{path}.{name}: is missing"
    for name in actual.keys() - expected.keys():
        yield f"{path}.{name}: {actual[name]!r} was not expected"
    for name in expected.keys() & actual.keys():
        yield from differences(expected[name], actual[name], f"{path}.{name}")


def _sequence_differences(expected: Sequence[Any], actual: Any, path: str) -> Iterator[str]:
    if not isinstance(actual, list):
        yield f"{path or '.'}: {actual!r} is no list"
        return
    if len(expected) != len(actual):
        yield f"{path or '.'}: {len(actual)} elements instead of {len(expected)}: {actual!r}"
        return
    for number, (one, other) in enumerate(zip(expected, actual, strict=True)):
        yield from differences(one, other, f"{path}[{number}]")


def _list_differences(expected: Mapping[str, Any], actual: Any, path: str) -> Iterator[str]:
    """Compare with `{$each: …, $count: …}` or `{$includes: […]}`."""
    if not isinstance(actual, list):
        yield f"{path or '.'}: {actual!r} is no list"
    elif set(expected) == {"$includes"}:
        rest = iter(actual)
        for number, wanted in enumerate(expected["$includes"]):
            if not any(not [*differences(wanted, one)] for one in rest):
                yield f"{path}: nothing in it fits element {number} of $includes: {actual!r}"
                return
    elif "$each" in expected and set(expected) <= {"$each", "$count"}:
        count = expected.get("$count")
        if len(actual) != count if count is not None else not actual:
            yield f"{path}: {len(actual)} elements instead of {count or 'at least one'}"
        for number, one in enumerate(actual):
            yield from differences(expected["$each"], one, f"{path}[{number}]")
    else:
        yield f"{path}: there is no list matcher {sorted(expected)}"


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, (int, float)) and isinstance(actual, (int, float)):
        return math.isclose(expected, actual, rel_tol=_FLOAT_TOLERANCE)
    return bool(expected == actual)


def _is_number(value: Any, between: str, *, whole: bool) -> bool:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        return False
    if not math.isfinite(number) or (whole and not number.is_integer()):
        return False
    if not between:
        return number != 0
    low, _, high = between.partition(",")
    return float(low) <= number <= float(high)


def _is_time(value: Any, argument: str) -> bool:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    if moment.tzinfo is None:
        return False
    return not argument or abs(moment - _moment(argument)) <= _LENIENCE


def _moment(argument: str) -> datetime:
    found = _TIME.fullmatch(argument)
    if found is None:
        raise ValueError(f"{argument!r} is no time")
    return datetime.now(UTC) + offset(found["sign"] or "+", found["count"] or "0", found["unit"] or "s")


def offset(sign: str, count: str, unit: str) -> timedelta:
    """Return the time that `+`, `30`, `d` means."""
    return timedelta(**{_UNITS[unit]: int(f"{sign}{count}")})
