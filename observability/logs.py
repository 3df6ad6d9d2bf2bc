"""JSON logs: one object a line, with the trace, the user and the request that a line belongs to.

Extras given to a logger (`log.info("…", extra={"generation_params": {…}})`) become members of the object. Members whose
names say that they hold a secret are masked, whatever logged them.
"""

import json
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from opentelemetry import trace

Facts = Callable[[], Mapping[str, str]]
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_OWN_IDS = frozenset({"trace_id", "span_id", "user_id", "request_id"})
# Ends of lines to some readers, though not to JSON.
_LINE_ENDS = str.maketrans({"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"})
_SECRET_PARTS = ("password", "secret", "token", "authorization", "api_key", "credential", "cookie")
_SENSITIVE_PARTS = ("measurement",)  # secret whatever their type: a body's measures are numbers
_MASK = "***"
_BATCHED_LINES = 64
_BATCH_SECONDS = 0.2
_ENCODER = json.JSONEncoder(default=str, ensure_ascii=False, separators=(",", ":"))


def _no_facts() -> Mapping[str, str]:
    return {}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object with the members of requirements.md, extras after them."""

    def __init__(self, facts: Facts = _no_facts) -> None:
        """Take `user_id` and `request_id` from `facts`, asked in the context that logs."""
        super().__init__()
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        span = trace.get_current_span().get_span_context()
        members = vars(record)
        facts = {} if "user_id" in members else self._facts()
        line: dict[str, Any] = {
            "timestamp": _rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "trace_id": f"{span.trace_id:032x}" if span.is_valid else "",
            "span_id": f"{span.span_id:016x}" if span.is_valid else "",
            "user_id": facts.get("user_id", ""),
            "request_id": facts.get("request_id", ""),
        }
        for name, value in members.items():
            if name in _STANDARD:
                continue
            if name in _OWN_IDS:
                line[name] = value or line[name]  # a line about a call that is no longer the current one
            elif name not in line:
                line[name] = masked(name, value)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        written = _ENCODER.encode(line)
        return written if written.isascii() else written.translate(_LINE_ENDS)


def masked(name: str, value: Any) -> Any:
    """Return `value`, or a mask where `name`, or a name inside of it, says that it is secret.

    Numbers stay, so that `prompt_tokens: 12` can be logged.
    """
    secrecy = _secrecy(name)
    if secrecy and (secrecy > 1 or (value and not isinstance(value, int | float))):
        return _MASK
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): masked(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [masked(name, inner) for inner in value]
    return value


@lru_cache(maxsize=1024)
def _secrecy(name: str) -> int:
    """Return 2 for a name whose value is always masked, 1 for one whose numbers may show, 0 for any other."""
    lowered = name.lower()
    if any(part in lowered for part in _SENSITIVE_PARTS):
        return 2
    return int(any(part in lowered for part in _SECRET_PARTS))


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class BatchingHandler(logging.StreamHandler[TextIO]):
    """Writes lines in batches: every 0.2 s, at once from WARNING on, and when 64 have gathered.

    A write a line would cost a busy server more than making the line: each gives the interpreter's lock away.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: list[str] = []
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write_on_time, name="log-writer", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001 - logging reports its own failures and never fails the caller
            self.handleError(record)
        if record.levelno >= logging.WARNING or len(self._lines) >= _BATCHED_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            if lines and not self.stream.closed:
                self.stream.write("\n".join(lines) + "\n")
                self.stream.flush()

    def close(self) -> None:
        self._closed.set()
        self.flush()
        super().close()

    def _write_on_time(self) -> None:
        while not self._closed.wait(_BATCH_SECONDS):
            self.flush()


def start_logging(level: str = "INFO", *, facts: Facts = _no_facts, stream: TextIO | None = None) -> logging.Handler:
    """Send every log of the process to `stream` (standard error) as JSON lines, from `level` on."""
    handler = BatchingHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(facts))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    return handler
