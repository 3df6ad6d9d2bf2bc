"""How tests are shared out among processes that run side by side (`pytest -n`)."""

from xdist.scheduler import LoadScopeScheduling

_SHARE_A_SERVER = ("conformance", "e2e", "gateway", "chaos")


class BySharedServers(LoadScopeScheduling):  # type: ignore[misc] # the package's schedulers have no types
    """Keeps a suite whose tests share a mesh in one process, and everywhere else the tests of one file.

    pytest-xdist's own groups do this by rewriting node ids, which pytest 9.2 does not let it do any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        suite = file.partition("/")[2].partition("/")[0]
        return suite if suite in _SHARE_A_SERVER else file
