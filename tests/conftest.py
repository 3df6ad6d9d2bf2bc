"""What holds for every suite: where tests belong, and that a test that could not run is said so."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.binaries import NOT_RUN, require_binary, require_package

if TYPE_CHECKING:
    from tests.support.databases import MariaDbOnDemand

# The same examples on every machine and no clock in the verdict: a test that fails must fail again.
settings.register_profile(
    "candela", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("candela")

_TESTS = Path(__file__).parent
_MARK_OF_FOLDER = {"long": pytest.mark.long, "chaos": pytest.mark.long, "bench": pytest.mark.bench}


@pytest.fixture(scope="session")
def mariadb() -> "Iterator[MariaDbOnDemand]":
    """The session's MariaDB, for every suite whose tests ask for a `database_url`."""
    from tests.support.databases import MariaDbOnDemand  # noqa: PLC0415 - most suites need no database

    with ExitStack() as stack:
        yield MariaDbOnDemand(stack)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_TESTS):
            mark = _MARK_OF_FOLDER.get(item.path.relative_to(_TESTS).parts[0])
            if mark:
                item.add_marker(mark)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    from tests.support.side_by_side import BySharedServers  # noqa: PLC0415 - only where tests run side by side

    return BySharedServers(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("requires_binary"):
        require_binary(*mark.args)
    for mark in item.iter_markers("requires_package"):
        require_package(*mark.args)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    return ("not run", "n", "NOT RUN") if _reason(report) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("not run")
    if reports:
        terminalreporter.section("not run", yellow=True)
        for report in reports:
            terminalreporter.line(f"{NOT_RUN}{report.nodeid}: {_reason(report)}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Returns why a test could not run, or an empty string for every other outcome."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return ""
    message = report.longrepr[2].removeprefix("Skipped: ")
    return message.removeprefix(NOT_RUN) if message.startswith(NOT_RUN) else ""
