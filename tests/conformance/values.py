"""What `${…}` in a case stands for, and `$…` in what must come back."""

import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from tests.conformance.matching import Matcher, offset
from tests.support.printed_page import png, print_page

_REFERENCE: Final = re.compile(r"\$\{([^{}]+)\}")
_PAGE: Final = (60, 60, 540, 220)
_OFFSET: Final = re.compile(r"([+-])(\d+)([smhd])")


class UnknownReferenceError(Exception):
    """A case refers to something that it did not keep."""


class Scope:
    """The names of one run of a case. `person` gives what is known of somebody who is mentioned."""

    def __init__(self, person: Callable[[str], Mapping[str, str]]) -> None:
        self._person = person
        self._kept: dict[str, Any] = {}
        self._uuids: dict[str, str] = {}
        self._unique = secrets.token_hex(6)
        self._digits = f"{secrets.randbelow(10**8):08d}"

    def keep(self, name: str, reply: Any) -> None:
        """Remember a reply for `${name.field}`."""
        self._kept[name] = reply

    def resolved(self, value: Any) -> Any:
        """Return a value with every reference in it replaced; raises UnknownReferenceError."""
        if isinstance(value, Mapping):
            return {self.resolved(name): self.resolved(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.resolved(inner) for inner in value]
        if not isinstance(value, str):
            return value
        whole = _REFERENCE.fullmatch(value)
        return self._look_up(whole[1]) if whole else _REFERENCE.sub(lambda m: str(self._look_up(m[1])), value)

    def expected(self, value: Any) -> Any:
        """Return what must come back: as `resolved`, with `$…` as matchers."""
        if isinstance(value, Mapping):
            return {name: self.expected(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.expected(inner) for inner in value]
        if isinstance(value, str) and value.startswith("$") and not value.startswith("${"):
            return Matcher(value)
        return self.resolved(value)

    def _look_up(self, reference: str) -> Any:
        name, _, rest = reference.partition(".")
        if name in self._kept:
            return _walk(self._kept[name], reference, rest)
        if name in _MAKERS:
            return _MAKERS[name](rest)
        if name in ("unique", "digits"):
            return self._unique if name == "unique" else self._digits
        if name == "uuid":
            return self._uuids.setdefault(rest, str(uuid.uuid4()))
        facts = self._person(name)
        if rest not in facts:
            raise UnknownReferenceError(f"${{{reference}}}: nothing of that name was kept")
        return facts[rest]


def _walk(value: Any, reference: str, path: str) -> Any:
    for part in path.split(".") if path else ():
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise UnknownReferenceError(f"${{{reference}}}: {value!r} has no {part}") from None
    return value


@cache
def _page(words: str) -> str:
    """Return the upper left of a printed page: reading a whole one would take ten times as long."""
    return base64.b64encode(png(print_page(words.split()).crop(_PAGE))).decode()


def _time(text: str) -> str:
    found = _OFFSET.fullmatch(text)
    if found is None:
        raise UnknownReferenceError(f"${{time.{text}}}: write it as ${{time.+2h}}")
    return (datetime.now(UTC) + offset(*found.groups())).isoformat().replace("+00:00", "Z")


_MAKERS: Final[dict[str, Callable[[str], str]]] = {
    "page": _page,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "sha256": lambda text: hashlib.sha256(text.encode()).hexdigest(),
    "time": _time,
}
