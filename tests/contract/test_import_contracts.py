"""Who may import whom: each contract in pyproject.toml refuses a planted import and permits the ones it must."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

from scripts.import_contracts import PermittedImports

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS = {contract["id"]: contract for contract in SETTINGS["contracts"]}

FORBIDDEN = [
    ("services-apart", "services.user.usecases", "services.recognition.domain"),
    ("services-apart", "services.chat.api.streams", "services.user"),
    ("kit-below", "services.kit.bootstrap", "services.user.main"),
    ("kit-below", "services.kit.bootstrap", "inference_server.engine"),
    ("domain-pure", "services.user.domain", "pydantic"),
    ("domain-pure", "services.user.domain", "services.kit.clock"),
    ("domain-pure", "services.user.domain", "services.user.ports"),
    ("domain-pure", "services.user.domain.roles", "candela.user.v1.user_pb2"),
    ("errors-pure", "services.kit.errors", "grpc"),
    ("ports-low", "services.user.ports", "services.user.usecases"),
    ("ports-low", "services.user.ports", "services.user.storage.tables"),
    ("adapters-high", "services.user.usecases", "services.user.storage"),
    ("adapters-high", "services.user.passwords", "services.user.providers.sms"),
    ("adapters-high", "services.user.api.mapping", "services.user.storage"),
    ("adapters-high", "services.user.api", "services.user.main"),
    ("core-without-transport", "services.user.usecases", "sqlalchemy"),
    ("core-without-transport", "services.user.usecases", "grpc"),
    ("core-without-transport", "services.user.ports", "google"),
    ("core-without-transport", "services.recognition.usecases.history", "candela.recognition.v1.recognition_pb2"),
    ("inference-apart", "inference_server.api", "services.user.domain"),
    ("servers-use-stubs", "services.recognition.main", "candela.client"),
    ("servers-use-stubs", "inference_server.main", "candela"),
    ("client-apart", "candela.client", "services.kit.errors"),
    ("agpl-apart", "inference_server.models.catalogue", "ultralytics"),
    ("agpl-apart", "inference_server.models.catalogue", "inference_server.models.ultralytics_backend.plates"),
]

PERMITTED = [
    ("services-apart", "services.user.usecases", "services.user.domain"),
    ("services-apart", "services.user.api", "services.kit.pipeline"),
    ("kit-below", "services.kit.bootstrap", "observability.tracing"),
    ("domain-pure", "services.user.domain", "dataclasses"),
    ("domain-pure", "services.user.domain", "services.kit.errors"),
    ("domain-pure", "services.user.domain.roles", "services.user.domain.names"),
    ("ports-low", "services.user.ports", "services.kit.call"),
    ("adapters-high", "services.user.main", "services.user.storage"),
    ("adapters-high", "services.user.migrations.env", "services.user.storage"),
    ("adapters-high", "services.user.storage.sessions", "services.user.storage.tables"),
    ("adapters-high", "services.user.storage", "services.user.domain"),
    ("core-without-transport", "services.user.api", "grpc"),
    ("inference-apart", "inference_server.api", "services.kit.errors"),
    ("servers-use-stubs", "services.user.api", "candela.user.v1.user_pb2"),
    ("client-apart", "candela.client", "candela.user.v1.user_pb2"),
    ("agpl-apart", "inference_server.models.ultralytics_backend.plates", "ultralytics.nn"),
]


def kept(identity: str, importer: str, imported: str) -> bool:
    graph = grimp.ImportGraph()
    graph.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")
    contract = PermittedImports(name=identity, session_options=SETTINGS, contract_options=CONTRACTS[identity])
    return contract.check(graph, verbose=False).kept


@pytest.mark.parametrize(("identity", "importer", "imported"), FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(identity: str, importer: str, imported: str) -> None:
    assert not kept(identity, importer, imported)


@pytest.mark.parametrize(("identity", "importer", "imported"), PERMITTED)
def test_a_permitted_import_keeps_its_contract(identity: str, importer: str, imported: str) -> None:
    assert kept(identity, importer, imported)


def test_every_contract_is_shown_to_fail() -> None:
    assert CONTRACTS.keys() == {identity for identity, _, _ in FORBIDDEN}


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Runs the program as `make lint` does, over a small tree with the contracts of this repository."""
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache", "--config", ROOT / "pyproject.toml"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_reads_the_contracts_and_fails_on_a_violation(tmp_path: Path) -> None:
    for package in [*SETTINGS["root_packages"], "services/kit", "services/user", "services/chat"]:
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").touch()
    domain = tmp_path / "services/user/domain.py"
    domain.write_text("import dataclasses\n")
    clean = lint_imports(tmp_path)
    assert clean.returncode == 0, clean.stdout
    domain.write_text("import sqlalchemy\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1
    assert "services.user.domain must not import sqlalchemy (line 1)" in broken.stdout
