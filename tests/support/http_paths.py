"""Path templates of `google.api.http` rules, and whether two of them can match one path."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import MethodOptions

if TYPE_CHECKING:
    from google.protobuf.internal.extension_dict import _ExtensionFieldDescriptor

# The option that holds a rule; the stub that its package brings types every extension as a plain FieldDescriptor.
HTTP = cast("_ExtensionFieldDescriptor[MethodOptions, HttpRule]", annotations_pb2.http)

ANY_SEGMENT = "*"
ANY_REST = "**"
_VARIABLE = re.compile(r"\{[^{}=]+(?:=([^{}]*))?\}")


@dataclass(frozen=True)
class Template:
    """A template without its variables: segments (`*`, `**` or a literal) and the custom verb after the last colon."""

    segments: tuple[str, ...]
    verb: str

    def overlaps(self, other: "Template") -> bool:
        """Says whether some path matches both: `/v1/users/me` and `/v1/{name=users/*}` do."""
        return self.verb == other.verb and _overlap(self.segments, other.segments)


def parse(path: str) -> Template:
    """Returns the template of a path such as `/v1/{name=conversations/*}/messages:send`."""
    flat = _VARIABLE.sub(lambda match: match[1] or ANY_SEGMENT, path)
    *segments, last = flat.lstrip("/").split("/")
    last, _, verb = last.partition(":")
    return Template((*segments, last), verb)


def bindings(rule: HttpRule) -> list[tuple[str, str]]:
    """Returns the HTTP method and path of a rule and of its additional bindings."""
    found = []
    for one in (rule, *rule.additional_bindings):
        kind = one.WhichOneof("pattern")
        if kind == "custom":
            found.append((one.custom.kind, one.custom.path))
        elif kind is not None:
            found.append((kind.upper(), getattr(one, kind)))
    return found


def _overlap(left: Sequence[str], right: Sequence[str]) -> bool:
    if ANY_REST in {*left[:1], *right[:1]}:
        return True  # the grammar allows `**` only at the end, where it takes whatever is left, even nothing
    if not left or not right:
        return not left and not right
    if ANY_SEGMENT in (left[0], right[0]) or left[0] == right[0]:
        return _overlap(left[1:], right[1:])
    return False
