"""Candela's Python client, beside the code generated from its contracts.

`import candela` costs next to nothing: gRPC and the generated code are loaded with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from candela.async_client import AsyncClient
    from candela.client import Client
    from candela.endpoint import Tls
    from candela.errors import (
        Aborted,
        AlreadyExists,
        Cancelled,
        CandelaError,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        FieldViolation,
        Internal,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
    )
    from candela.events import AsyncEventStream, EventStream
    from candela.jobs import AsyncJob, Job
    from candela.method import Method
    from candela.pagers import AsyncPager, Pager
    from candela.retry import RetryPolicy
    from candela.streams import AsyncStream, Stream
    from candela.tokens import Tokens
    from candela.transfers import Progress
    from candela.version import __version__

_HOMES: Final = {
    "candela.async_client": ("AsyncClient",),
    "candela.client": ("Client",),
    "candela.endpoint": ("Tls",),
    "candela.errors": (
        "Aborted",
        "AlreadyExists",
        "CandelaError",
        "Cancelled",
        "DataLoss",
        "DeadlineExceeded",
        "FailedPrecondition",
        "FieldViolation",
        "Internal",
        "InvalidArgument",
        "NotFound",
        "PermissionDenied",
        "ResourceExhausted",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
    ),
    "candela.events": ("AsyncEventStream", "EventStream"),
    "candela.jobs": ("AsyncJob", "Job"),
    "candela.method": ("Method",),
    "candela.pagers": ("AsyncPager", "Pager"),
    "candela.retry": ("RetryPolicy",),
    "candela.streams": ("AsyncStream", "Stream"),
    "candela.tokens": ("Tokens",),
    "candela.transfers": ("Progress",),
    "candela.version": ("__version__",),
}
_MODULE_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "AsyncEventStream",
    "AsyncJob",
    "AsyncPager",
    "AsyncStream",
    "Cancelled",
    "CandelaError",
    "Client",
    "DataLoss",
    "DeadlineExceeded",
    "EventStream",
    "FailedPrecondition",
    "FieldViolation",
    "Internal",
    "InvalidArgument",
    "Job",
    "Method",
    "NotFound",
    "Pager",
    "PermissionDenied",
    "Progress",
    "ResourceExhausted",
    "RetryPolicy",
    "Stream",
    "Tls",
    "Tokens",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "__version__",
]


if not TYPE_CHECKING:  # a type checker would take any name for a public one

    def __getattr__(name: str) -> Any:
        """Loads a public name from its module when it is first asked for (PEP 562)."""
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module 'candela' has no attribute {name!r}")
        value = getattr(import_module(module), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
