"""The runner behind `make lint`: every check runs, a failing one is shown whole and decides the exit status."""

import sys

import pytest

from scripts import lint
from scripts.lint import Check

FINE = Check("fine", [sys.executable, "-c", "print('nobody needs to see this')"])
BROKEN = Check("broken", [sys.executable, "-c", "import sys; print('what is wrong'); sys.exit(3)"])


def test_one_failure_fails_and_only_failures_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lint, "checks", lambda: [BROKEN, FINE])
    assert lint.main() == 1
    printed = capsys.readouterr().out
    assert "✗ broken" in printed
    assert "what is wrong" in printed
    assert "✓ fine" in printed
    assert "nobody needs" not in printed


def test_success_is_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "checks", lambda: [FINE])
    assert lint.main() == 0


def test_the_checks_that_were_promised_are_there() -> None:
    names = {check.name for check in lint.checks()}
    assert {"mypy --strict", "import contracts", "ruff check", "ruff format", "buf lint", "vendored protos"} <= names
    assert {"buf format protos/public", "buf breaking protos/public", "buf breaking protos/internal"} <= names
