"""A contract type for import-linter that is written as patterns, so that it also holds for modules yet to come.

import-linter's own types name modules one by one and refuse names that do not exist. The rules of this repository speak
about rooms that every service has (`services.<any>.domain`), hence patterns. The contracts stand in pyproject.toml.
"""

import re
import sys
from collections.abc import Iterator
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

STANDARD_LIBRARY = "<standard library>"


class PermittedImports(Contract):
    """Says what modules that match a pattern may import directly.

    importers: pattern of the modules the contract is about; named groups can be used in `allowed` as `{group}`.
    imports: pattern of the imports it looks at; everything else is none of its business.
    allowed: patterns of those that are permitted; `<standard library>` stands for every module of it.
    """

    importers = fields.StringField()
    imports = fields.StringField()
    allowed = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        forbidden = sorted(self._forbidden(graph))
        return ContractCheck(kept=not forbidden, metadata={"forbidden": forbidden})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for importer, imported, line in check.metadata["forbidden"]:
            output.print_error(f"{importer} must not import {imported} (line {line})")

    def _forbidden(self, graph: ImportGraph) -> Iterator[tuple[str, str, int]]:
        for importer in graph.modules:
            if not (match := re.fullmatch(str(self.importers), importer)):
                continue
            allowed = self._allowed_for(match)
            for imported in graph.find_modules_directly_imported_by(importer):
                if re.fullmatch(str(self.imports), imported) and not self._permits(allowed, imported):
                    details = graph.get_import_details(importer=importer, imported=imported)
                    yield importer, imported, details[0]["line_number"] if details else 0

    def _allowed_for(self, match: re.Match[str]) -> list[str]:
        groups = {name: re.escape(value or "") for name, value in match.groupdict().items()}
        patterns = [str(pattern) for pattern in cast("list[object]", self.allowed)]
        for name, value in groups.items():
            patterns = [pattern.replace(f"{{{name}}}", value) for pattern in patterns]
        return patterns

    @staticmethod
    def _permits(allowed: list[str], imported: str) -> bool:
        if STANDARD_LIBRARY in allowed and imported.partition(".")[0] in sys.stdlib_module_names:
            return True
        return any(re.fullmatch(pattern, imported) for pattern in allowed)
