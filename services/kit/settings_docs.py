"""Prints `docs/configuration.md` from the settings types: `python -m services.kit.settings_docs [MODULE …]`.

A settings type registers itself by being a subclass of CandelaSettings, so it is enough to import the modules that
define them: without arguments, every `settings.py` one level inside the repository's packages. `--check FILE` compares
instead and exits with status 1 when the file is not current.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from services.kit.settings import PREFIX, CandelaSettings, ServerSettings

_PACKAGES = ("services/*", "inference_server", "gateway_envoy", "supervisor")
_INTRODUCTION = """# Configuration

Every process reads its settings once, at its start, from `CANDELA_…` environment variables. All of them have defaults
that work. An empty variable counts as unset. `make run` gives each process its own variables; a variable that you set
yourself wins. This page is made from the settings types (`python -m services.kit.settings_docs`).
"""


def find_modules(root: Path) -> list[str]:
    """Return the names of the modules below `root` that define settings."""
    files = sorted(file for pattern in _PACKAGES for file in root.glob(f"{pattern}/settings.py"))
    return [".".join(file.relative_to(root).with_suffix("").parts) for file in files]


def known_types() -> list[type[CandelaSettings]]:
    """Return the settings types of the modules imported so far: the shared ones first, then by name."""

    def below(kind: type[CandelaSettings]) -> Iterator[type[CandelaSettings]]:
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    own = {kind for kind in below(CandelaSettings) if kind is not ServerSettings and "tests" not in kind.__module__}
    return [CandelaSettings, ServerSettings, *sorted(own, key=title)]


def title(kind: type[CandelaSettings]) -> str:
    """Return the heading of a type's section."""
    if kind is CandelaSettings:
        return "Every process"
    if kind is ServerSettings:
        return "Every server"
    name = getattr(kind, "service_name", "") or kind.__module__.split(".")[-2]
    return f"{name.replace('_', ' ').capitalize()}"


def page(kinds: Iterable[type[CandelaSettings]]) -> str:
    """Return the whole page for the settings types."""
    return "\n".join([_INTRODUCTION, *(section(kind) for kind in kinds)])


def section(kind: type[CandelaSettings]) -> str:
    """Return a type's table: the fields that it adds, and those whose default it changes."""
    rows = [_row(name, info) for name, info in kind.model_fields.items() if _is_news(kind, name, info)]
    if not rows:
        return f"## {title(kind)}\n\nNothing of its own.\n"
    head = "| variable | default | values | what it does |\n|---|---|---|---|"
    return f"## {title(kind)}\n\n{head}\n" + "\n".join(rows) + "\n"


def _is_news(kind: type[CandelaSettings], name: str, info: FieldInfo) -> bool:
    parents = [base for base in kind.__mro__[1:] if issubclass(base, CandelaSettings) and name in base.model_fields]
    return not parents or parents[0].model_fields[name].default != info.default


def _row(name: str, info: FieldInfo) -> str:
    if not info.description:
        raise ValueError(f"the setting {name} has no description")
    cells = (f"`{PREFIX}{name.upper()}`", _default(info), _values(info), info.description.replace("|", "\\|"))
    return f"| {' | '.join(cells)} |"


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "(required)" if info.default_factory is None else "(computed)"
    if info.default in (None, ""):
        return ""
    if isinstance(info.default, SecretStr):  # a default that is secret stays so
        return "(secret)"
    value = str(info.default).lower() if isinstance(info.default, bool) else str(info.default)
    return f"`{value}`"


def _values(info: FieldInfo) -> str:
    """Return what a field takes: its type in plain words, its choices or its bounds."""
    kind = info.annotation
    kinds = [one for one in get_args(kind) if one is not type(None)] if type(None) in get_args(kind) else [kind]
    kind = kinds[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    words: dict[Any, str] = {bool: "`true`, `false`", int: "whole number", float: "number", Path: "path", str: "text"}
    return " ".join(filter(None, (words.get(kind, "text"), _bounds(info))))


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "at least", "max_length": "at most"}
    parts = [f"{sign} {getattr(m, key)}" for m in info.metadata for key, sign in signs.items() if hasattr(m, key)]
    return ", ".join(parts)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="modules that define settings types")
    parser.add_argument("--check", type=Path, metavar="FILE", help="compare with FILE and print nothing")
    options = parser.parse_args(arguments)
    for module in options.modules or find_modules(Path()):
        importlib.import_module(module)
    text = page(known_types())
    if options.check is None:
        sys.stdout.write(text)
        return 0
    current = options.check.exists() and options.check.read_text(encoding="utf-8") == text
    if not current:
        sys.stderr.write(f"{options.check} is not current: python -m services.kit.settings_docs > {options.check}\n")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main())
