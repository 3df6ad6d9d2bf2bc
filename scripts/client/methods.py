"""One method of the contract as Python source: the same text for both clients but for what `Flavour` names."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor import Descriptor

from scripts.client.contract import Rpc, message_of, python_module
from scripts.client.names import TIMEOUTS, Name, snake
from scripts.client.parameters import Parameter, Parameters, Reader, alias

_WIDTH: Final = 112
_EMPTY: Final = "google.protobuf.Empty"
_JOB_STATUS: Final = "candela.type.v1.JobStatus"


@dataclass(frozen=True)
class Flavour:
    """What is written differently for threads and for asyncio."""

    prefix: str
    define: str
    wait: str
    build: str
    frames: str


SYNC: Final = Flavour("", "def", "", "build(", "Iterable")
ASYNC: Final = Flavour("Async", "async def", "await ", "await asyncio.to_thread(build, ", "AsyncIterable")


@dataclass(frozen=True)
class Method:
    """An RPC, its place on the client, its arguments, and the other methods of the same service by RPC name."""

    rpc: Rpc
    name: Name
    parameters: Parameters
    siblings: dict[str, Rpc]
    reader: Reader

    @property
    def constant(self) -> str:
        return constant(self.rpc)

    @property
    def jobs(self) -> tuple[str, str, str] | None:
        """The constants of the methods that get, cancel and watch the job that this one makes; None for others."""
        status = self.rpc.response.fields_by_name.get("status")
        if status is None or status.message_type is None or status.message_type.full_name != _JOB_STATUS:
            return None
        if not self.rpc.name.startswith("Create"):
            return None
        found = [self.siblings.get(f"{verb}{self.rpc.response.name}") for verb in ("Get", "Cancel", "Watch")]
        get, cancel, watch = (constant(one) if one else "" for one in found)
        return (get, cancel, watch) if get and cancel and watch else None

    def declared(self) -> str:
        """Returns the constant that describes the RPC to the engines."""
        folder, stem = python_module(self.rpc.file)
        self.reader.modules.add((folder, stem))
        kinds = f"{self._type(self.rpc.request)}, {self._type(self.rpc.response)}"
        timeout = "None" if self.rpc.server_streams else TIMEOUTS.get(self.rpc.full_name)
        extra = "" if timeout is None else f", timeout={timeout}"
        service = f'{alias(folder, stem)}.DESCRIPTOR, "{self.rpc.service}.{self.rpc.name}"'
        return f"{self.constant}: Final = Method.of({service}, {kinds}{extra})"

    def source(self, flavour: Flavour) -> str:
        """Returns the method for one of the two clients."""
        define, returned, body = self._shape(flavour)
        arguments = "".join(f"    {one},\n" for one in self._signature(flavour))
        lines = [f"{define} {self.name.method}(\n{arguments}) -> {returned}:"]
        lines += [*_docstring(self.rpc.comment, self.parameters.ordered()), *(f"    {line}" for line in body)]
        return textwrap.indent("\n".join(lines), "    ")

    def _type(self, kind: Descriptor) -> str:
        return self.reader.type_of(kind)

    def _signature(self, flavour: Flavour) -> list[str]:
        if self.rpc.client_streams:
            frames = f"{flavour.frames}[{self._type(self.rpc.request)}]"
            return ["self", f"requests: {frames}", "*", "timeout: float | None = None"]
        ordered = self.parameters.ordered()
        free = [_declared(one) for one in ordered if one.positional]
        named = [_declared(one) for one in ordered if not one.positional]
        return ["self", *free, "*", *named, "timeout: float | None = None"]

    def _shape(self, flavour: Flavour) -> tuple[str, str, list[str]]:
        if self.rpc.client_streams or self.rpc.server_streams:
            return self._stream(flavour)
        page = self._paged()
        if page:
            return self._pager(flavour, page)
        call = f"{flavour.wait}self._engine.unary({self.constant}, request, timeout)"
        request = f"request = {self._request(flavour)}"
        if self.rpc.response.full_name == _EMPTY:
            return flavour.define, "None", [request, call]
        if self.jobs:
            made = f"{flavour.prefix}Job"
            kind = f"{made}[{self._type(self.rpc.response)}]"
            return flavour.define, kind, [request, f"return {made}(self._engine, {_job_constant(self)}, {call})"]
        return flavour.define, self._type(self.rpc.response), [request, f"return {call}"]

    def _paged(self) -> str:
        """Returns the field with the items of a page, empty when the answer is not one."""
        names = self.rpc.request.fields_by_name
        items = [one for one in self.rpc.response.fields if one.is_repeated and one.message_type is not None]
        paged = "page_token" in names and "next_page_token" in self.rpc.response.fields_by_name
        return items[0].name if paged and len(items) == 1 else ""

    def _pager(self, flavour: Flavour, items: str) -> tuple[str, str, list[str]]:
        page = self._type(self.rpc.response)
        item = self._type(message_of(self.rpc.response.fields_by_name[items]))
        kind = f"{flavour.prefix}Pager"
        body = [
            f"{flavour.define} fetch(token: str) -> {page}:",
            f"    request = {self._request(flavour, replaced={'page_token': 'token'})}",
            f"    return {flavour.wait}self._engine.unary({self.constant}, request, timeout)",
            f"return {kind}(fetch, lambda page: page.{items}, lambda page: page.next_page_token, page_token)",
        ]
        return "def", f"{kind}[{page}, {item}]", body

    def _stream(self, flavour: Flavour) -> tuple[str, str, list[str]]:
        response, completed = self.rpc.response, self.rpc.response.fields_by_name.get("completed")
        kind = f"{flavour.prefix}Stream[{self._type(response)}]"
        call = f"self._engine.stream({self.constant}, request, timeout)"
        if completed is not None:
            done = self._type(message_of(completed))
            kind = f"{flavour.prefix}EventStream[{self._type(response)}, {done}]"
            verb = "duplex" if self.rpc.client_streams else "events"
            given = "requests" if self.rpc.client_streams else "request"
            call = f"self._engine.{verb}({self.constant}, {given}, {done}, timeout{self._resumed()})"
        elif self.rpc.client_streams:
            raise ValueError(f"{self.rpc.full_name}: a stream both ways needs a last event, `completed` or `error`")
        made = [] if self.rpc.client_streams else [f"request = {self._request(flavour)}"]
        if flavour is SYNC:
            return "def", kind, [*made, f"return {call}"]
        inner = [f"async def opened() -> {kind}:", *(f"    {line}" for line in [*made, f"return await {call}"])]
        return "def", f"Opening[{kind}]", [*inner, "return Opening(opened)"]

    def _resumed(self) -> str:
        """Returns the argument that lets a broken stream go on, where the service has a method for that."""
        others = [one for name, one in self.siblings.items() if name.startswith("Resume")]
        fitting = [one for one in others if one.response is self.rpc.response and not self.rpc.client_streams]
        return f", resume={constant(fitting[0])}" if fitting else ""

    def _request(self, flavour: Flavour, replaced: Mapping[str, str] | None = None) -> str:
        parts = self.parameters
        raw = any(one.bytes for one in parts.fields)
        build = flavour.build if raw else "build("
        given = {one.name: one.name for one in parts.fields} | dict(replaced or {})
        arguments = [self._type(self.rpc.request)]
        if parts.resource:
            changes = {name: given.pop(name) for name in parts.changes}
            keys = {name: given.pop(name) for name in parts.keys}
            update = f"{_dict(keys)}, {_dict(changes)}, {given.pop('update_mask')}"
            given = {parts.resource: f"Change({update})", **given}
        return f"{build}{', '.join([*arguments, *(f'{name}={value}' for name, value in given.items())])})"


def constant(rpc: Rpc) -> str:
    return snake(rpc.name).upper()


def _job_constant(method: Method) -> str:
    return snake(method.rpc.response.name).upper()


def jobs_declared(method: Method) -> str:
    """Returns the constant that describes a kind of job."""
    get, cancel, watch = method.jobs or ("", "", "")
    return f"{_job_constant(method)}: Final = JobMethods({get}, {cancel}, {watch})"


def job_handle(method: Method, flavour: Flavour) -> str:
    """Returns the method that takes up a job by its name."""
    kind = method.reader.type_of(method.rpc.response)
    made = f"{flavour.prefix}Job"
    lines = [
        f"def handle(self, name: str) -> {made}[{kind}]:",
        '    """Returns a handle of a job that was made before, `name` as it was called then. Asks nothing yet."""',
        f"    return {made}(self._engine, {_job_constant(method)}, {kind}(name=name))",
    ]
    return textwrap.indent("\n".join(lines), "    ")


def _declared(one: Parameter) -> str:
    return f"{one.name}: {one.annotation}" + (f" = {one.default}" if one.default else "")


def _dict(values: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}"


def _docstring(comment: str, parameters: Sequence[Parameter]) -> Iterable[str]:
    """Yields a method's docstring: what it does in a first paragraph, then its arguments."""
    first, _, rest = comment.partition(". ")
    yield f'    """{_escaped(first).removesuffix(".")}.'
    if rest:
        yield from ["", *_wrapped(rest, "    ")]
    known = [one for one in parameters if one.comment]
    if known:
        yield from ["", "    Args:"]
    for one in known:
        yield from _wrapped(f"{one.name}: {one.comment}", "        ", hanging="            ")
    if known:
        yield "        timeout: Seconds over all attempts; without it the method's own."
    yield '    """'


def _wrapped(text: str, indent: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        _escaped(text),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=hanging or indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")
