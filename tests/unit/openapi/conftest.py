"""The contract of this repository and the documents made of it."""

from pathlib import Path
from typing import Any

import pytest

from openapi.contract import Contract
from openapi.document import build

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def contract() -> Contract:
    return Contract.read(ROOT / "build" / "candela-public.binpb")


@pytest.fixture(scope="session")
def document(contract: Contract) -> dict[str, Any]:
    """What is deployed."""
    return build(contract)


@pytest.fixture(scope="session")
def whole(contract: Contract) -> dict[str, Any]:
    """Every service of the contract, the coming ones included."""
    return build(contract, tuple(contract.services))
