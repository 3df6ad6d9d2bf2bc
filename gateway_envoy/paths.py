"""Path templates of `google.api.http` as what Envoy matches and people read."""

import re
from dataclasses import dataclass
from typing import Final

_VARIABLE: Final = re.compile(r"\{(?P<name>[A-Za-z0-9_.]+)(=(?P<pattern>[^{}]+))?\}")
_ONE: Final = "[^/:]+"  # a colon begins a custom verb, so no variable of ours holds one
_MANY: Final = "[^:]+"


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A template as Envoy's router matches it: a literal path, or a regular expression (RE2) for the whole path."""

    regex: str
    literal: str
    """The path itself when nothing in it varies, otherwise empty."""
    label: str
    """The template for people: `/v1/users/{name}`, the same for all spellings of one pattern."""

    @property
    def sample(self) -> str:
        """A path that the pattern matches."""
        return re.sub(r"\{[^}]*\}", "x", self.label)

    def matches(self, path: str) -> bool:
        """Say whether the pattern matches a whole path."""
        return path == self.literal if self.literal else re.fullmatch(self.regex, path) is not None

    def envoy_match(self) -> dict[str, object]:
        """Return the part of an Envoy RouteMatch that matches the path, query aside."""
        return {"path": self.literal} if self.literal else {"safe_regex": {"regex": self.regex}}


def parse_template(template: str) -> PathPattern:
    """Return the pattern of a template such as `/v1/{name=users/*}:changePassword`."""
    regex, label, last = "", "", 0
    for variable in _VARIABLE.finditer(template):
        before = template[last : variable.start()]
        inside_regex, inside_label = _segments(variable["pattern"] or "*", variable["name"].rpartition(".")[2])
        regex += re.escape(before) + inside_regex
        label += before + inside_label
        last = variable.end()
    tail_regex, tail_label = _segments(template[last:], "name")
    regex, label = regex + tail_regex, label + tail_label
    varies = "{" in label
    return PathPattern(regex=regex, literal="" if varies else template, label=label)


def _segments(pattern: str, name: str) -> tuple[str, str]:
    """Return regular expression and label of the inside of a variable or of text without variables."""
    regex, label = [], []
    for part in re.split(r"(\*\*|\*)", pattern):
        match part:
            case "*":
                regex.append(_ONE)
                label.append(f"{{{name}}}")
            case "**":
                regex.append(_MANY)
                label.append(f"{{{name}}}")
            case _:
                regex.append(re.escape(part))
                label.append(part)
    return "".join(regex), "".join(label)
