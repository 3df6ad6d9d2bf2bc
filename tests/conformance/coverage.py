"""What the suite lacks: RPCs without a case, without a client method, or unknown to the list of what is implemented."""

from collections.abc import Callable, Collection, Iterator, Sequence

from tests.conformance.contract import Method
from tests.conformance.suite import Case


def uncovered(methods: Collection[Method], cases: Sequence[Case]) -> Iterator[str]:
    """Yield what is missing so that every way in which an RPC can end is held by a case."""
    for method in methods:
        own = [case for case in cases if case.method.name == method.name]
        if not any(case.succeeds for case in own):
            yield f"{method.name}: no case succeeds"
        if not any(case.expected.kind == "error" for case in own):
            yield f"{method.name}: no case fails"
        if method.streams and not any(case.expected.kind == "cancel" for case in own):
            yield f"{method.name}: in no case the caller goes away"
        ends = {_end(case) for case in own}
        yield from (f"{method.name}: no stream ends with {end}" for end in method.terminal_events if end not in ends)


def _end(case: Case) -> str:
    """Return the terminal event that a case ends with, empty without one."""
    if case.expected.kind != "stream":
        return ""
    end = case.expected.value["end"]
    return "error" if isinstance(end, dict) else str(end)


def without_client_method(methods: Collection[Method], find: Callable[[str], object]) -> Iterator[str]:
    """Yield the RPCs for which `find`, given a name, raises KeyError or AttributeError."""
    for method in methods:
        try:
            find(method.name)
        except (KeyError, AttributeError) as missing:
            yield f"{method.name}: the client has no method for it: {missing}"


def disagreements(listed: Collection[str], served: Collection[str]) -> Iterator[str]:
    """Yield where the list of what is implemented and what the servers say of themselves differ."""
    yield from (f"{name} is served and not in services/kit/implemented.py" for name in sorted({*served} - {*listed}))
    yield from (f"{name} is in services/kit/implemented.py and not served" for name in sorted({*listed} - {*served}))
