"""The cases as they stand in `cases/`: read, checked for their form, and told apart. README.md describes the format."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from tests.conformance.contract import METHODS, Method

CASES: Final = Path(__file__).parent / "cases"
DOORS: Final = ("python", "python-async", "connect-grpc", "connect-web", "grpc-js", "json")

_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_OUTCOMES: Final = ("reply", "error", "stream", "body", "cancel")
_CASE_KEYS: Final = {"case", "rpc", "as", "given", "request", "query", "then", "apart", "not_over", *_OUTCOMES}
_STEP_KEYS: Final = {"call", "as", "request", "reply", "error", "keep", "eventually"}
_ERROR_KEYS: Final = {"code", "reason", "metadata", "violations", "retry", "http"}
_STREAM_KEYS: Final = {"messages", "end"}

Who = str | Mapping[str, str]
Kind = Literal["reply", "error", "stream", "body", "cancel"]


class CaseError(Exception):
    """A case file does not have the form that README.md describes; the message says where."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come back: `kind` says which key of the case `value` stood under."""

    kind: Kind
    value: Any


@dataclass(frozen=True, slots=True)
class Step:
    """A call before or after the one that is tested; without `expected` it must succeed."""

    method: Method
    who: Who
    request: Any
    expected: Expected | None
    keep: str
    eventually: bool


@dataclass(frozen=True, slots=True)
class Case:
    """One case. `apart`: each door needs a preparation of its own. `not_over`: why it cannot go through some."""

    name: str
    method: Method
    who: Who
    given: Sequence[Step]
    request: Any
    query: Mapping[str, str]
    expected: Expected
    then: Sequence[Step]
    apart: bool
    not_over: Mapping[str, str]

    @property
    def id(self) -> str:
        """What pytest calls the case: `UserService-get-me`."""
        return f"{self.method.service.rpartition('.')[2]}-{self.name}"

    @property
    def succeeds(self) -> bool:
        """Whether the call must come to a good end."""
        kind, value = self.expected.kind, self.expected.value
        return kind in ("reply", "body") or (kind == "stream" and value["end"] in ("completed", "none"))


def load(folder: Path = CASES) -> list[Case]:
    """Return all cases, in the order of their files; raises CaseError."""
    return [case for path in sorted(folder.glob("*.yaml")) for case in read(path)]


def read(path: Path) -> Iterator[Case]:
    """Yield the cases of one file; raises CaseError."""
    whole = yaml.safe_load(path.read_text(encoding="utf-8"))
    service = str(whole.get("service")) if isinstance(whole, dict) else ""
    if path.name != f"{service}.yaml":
        raise CaseError(f"{path.name}: it must be called as its service, {service}.yaml")
    _check_keys(whole, {"service", "shapes", "cases"}, path.name)
    seen: set[str] = set()
    for raw in whole["cases"]:
        name = str(raw.get("case"))
        where = f"{path.name}, {name}"
        if not _NAME.fullmatch(name) or name in seen:
            raise CaseError(f"{where}: a case's name is lower case with dashes and occurs once")
        seen.add(name)
        yield _case(service, name, raw, where)


def _case(service: str, name: str, raw: Mapping[str, Any], where: str) -> Case:
    _check_keys(raw, _CASE_KEYS, where)
    expected = _expected(raw, where)
    if expected is None:
        raise CaseError(f"{where}: it says none of {', '.join(_OUTCOMES)}")
    not_over = raw.get("not_over", {})
    if not set(not_over) <= set(DOORS) or not all(isinstance(why, str) and why for why in not_over.values()):
        raise CaseError(f"{where}: not_over maps doors ({', '.join(DOORS)}) to reasons")
    method = _method(f"{service}/{raw.get('rpc')}", where)
    return Case(
        name=name,
        method=method,
        who=raw.get("as", "ada"),
        given=[_step(service, step, where) for step in raw.get("given", ())],
        request=raw.get("request", {}),
        query=raw.get("query", {}),
        expected=expected,
        then=[_step(service, step, where) for step in raw.get("then", ())],
        apart=raw.get("apart", expected.kind != "error") and not method.changes_nothing,
        not_over=not_over,
    )


def _step(service: str, raw: Mapping[str, Any], where: str) -> Step:
    _check_keys(raw, _STEP_KEYS, where)
    call = str(raw.get("call"))
    return Step(
        method=_method(call if "/" in call else f"{service}/{call}", where),
        who=raw.get("as", "ada"),
        request=raw.get("request", {}),
        expected=_expected(raw, where),
        keep=raw.get("keep", ""),
        eventually=raw.get("eventually", False),
    )


def _method(name: str, where: str) -> Method:
    method = METHODS.get(name)
    if method is None:
        raise CaseError(f"{where}: the contract has no {name}")
    return method


def _expected(raw: Mapping[str, Any], where: str) -> Expected | None:
    found = [key for key in _OUTCOMES if key in raw]
    if not found:
        return None
    if len(found) > 1:
        raise CaseError(f"{where}: it cannot be {' and '.join(found)} at once")
    kind: Any = found[0]
    value = raw[kind]
    if kind == "error":
        _check_error(value, where)
    if kind == "stream":
        _check_keys(value, _STREAM_KEYS, where)
        end = value.get("end")
        if isinstance(end, dict):
            _check_keys(end, {"error"}, where)
            _check_error(end["error"], where)
        elif end not in ("completed", "none"):
            raise CaseError(f"{where}: a stream ends with completed, none or an error")
    if kind == "cancel":
        _check_keys(value, {"after"}, where)
    return Expected(kind, value)


def _check_error(value: Any, where: str) -> None:
    _check_keys(value, _ERROR_KEYS, where)
    if "code" not in value:
        raise CaseError(f"{where}: an error has a code")


def _check_keys(raw: Any, known: set[str], where: str) -> None:
    if not isinstance(raw, dict):
        raise CaseError(f"{where}: {raw!r} is no mapping")
    if unknown := set(raw) - known:
        raise CaseError(f"{where}: unknown {', '.join(sorted(map(str, unknown)))}")
