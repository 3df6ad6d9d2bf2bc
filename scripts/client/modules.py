"""The generated modules: one for each collection, one that hangs them on a client, one that says what is where."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from operator import itemgetter
from pathlib import Path
from typing import Final

from scripts.client.contract import Contract, Rpc
from scripts.client.methods import ASYNC, SYNC, Flavour, Method, job_handle, jobs_declared
from scripts.client.names import EXTENDED, Name, placed
from scripts.client.parameters import Parameters, Reader, alias

Placed = tuple[Name, Rpc]

_HEADER: Final = '"""{summary}\n\nGenerated from protos/ by scripts/generate.py.\n"""\n\n'
_IMPORTS: Final = """from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from candela.jobs import AsyncJob, Job, JobMethods
from candela.method import Method
from candela.pagers import AsyncPager, Pager
from candela.requests import Change, Source, build
from candela.streams import Opening
"""
_TYPES: Final = """
if TYPE_CHECKING:
    from candela.async_engine import AsyncEngine
    from candela.engine import Engine
    from candela.events import AsyncEventStream, EventStream
    from candela.streams import AsyncStream, Stream
"""


def write(image: Path, public: Collection[str], target: Path) -> None:
    """Writes the client's methods for the files that are named into the package `target`.

    `image` is a descriptor set with comments.
    """
    contract = Contract(image)
    places = placed(contract.rpcs(public))
    collections: dict[str, list[Placed]] = defaultdict(list)
    for name, rpc in places.items():
        collections[name.collection].append((name, rpc))
    target.mkdir(parents=True, exist_ok=True)
    for collection, members in collections.items():
        (target / f"{collection}.py").write_text(_collection(contract, members), encoding="utf-8")
    names = sorted(collections)
    (target / "resources.py").write_text(_resources(contract, collections, names), encoding="utf-8")
    (target / "index.py").write_text(_index(places), encoding="utf-8")


def _collection(contract: Contract, members: list[Placed]) -> str:
    reader = Reader(contract)
    services: dict[str, dict[str, Rpc]] = defaultdict(dict)
    for _, rpc in members:
        services[rpc.service][rpc.name] = rpc
    methods = []
    for name, rpc in members:
        parameters = Parameters() if rpc.client_streams else reader.read(rpc)
        methods.append(Method(rpc, name, parameters, services[rpc.service], reader))
    # Rendering tells which modules are needed.
    constants = [one.declared() for one in methods] + [jobs_declared(one) for one in methods if one.jobs]
    classes = [_class(contract, methods, flavour) for flavour in (SYNC, ASYNC)]
    imports = "".join(_import(*module) for module in sorted(reader.modules))
    summary = f"`client.{methods[0].name.collection}`: {_about(contract, [rpc for _, rpc in members])}"
    head = _HEADER.format(summary=summary) + _IMPORTS + imports + _TYPES
    return "\n".join([head, *constants, "", *classes])


def _import(folder: str, stem: str) -> str:
    name = alias(folder, stem)
    return f"from {folder} import {stem}\n" if name == stem else f"from {folder} import {stem} as {name}\n"


def _class(contract: Contract, methods: list[Method], flavour: Flavour) -> str:
    lines = [
        "",
        f"class {flavour.prefix}{methods[0].name.class_name}:",
        f'    """{_about(contract, [one.rpc for one in methods])}"""',
        "",
        f"    def __init__(self, engine: {flavour.prefix}Engine) -> None:",
        "        self._engine = engine",
        "",
    ]
    for method in methods:
        lines += [method.source(flavour), ""]
        if method.jobs:
            lines += [job_handle(method, flavour), ""]
    return "\n".join(lines)


def _about(contract: Contract, rpcs: Iterable[Rpc]) -> str:
    """Returns the first sentence that the service with the most methods of a collection says of itself."""
    services = Counter(f"{one.file.package}.{one.service}" for one in rpcs)
    said = contract.comment(services.most_common(1)[0][0]).partition(". ")[0].removesuffix(".")
    return f"{said}." if said else "Methods of the contract."


def _resources(contract: Contract, collections: dict[str, list[Placed]], names: list[str]) -> str:
    head = _HEADER.format(summary="What hangs on a client; each is loaded when it is first used.")
    parts = [head + "from __future__ import annotations\n\nfrom functools import cached_property\n"]
    parts += ["from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"]
    parts += ["    from candela.async_engine import AsyncEngine\n    from candela.engine import Engine\n"]
    homes = {name: EXTENDED.get(name, f"candela.api.{name}") for name in names}
    classes = {name: collections[name][0][0].class_name for name in names}
    parts += [f"    from {homes[name]} import Async{classes[name]}, {classes[name]}\n" for name in names]
    for flavour in (SYNC, ASYNC):
        parts += [f'\n\nclass {flavour.prefix}Resources:\n    """Every collection of the contract."""\n\n']
        parts += [f"    _engine: {flavour.prefix}Engine\n"]
        for name in names:
            kind = f"{flavour.prefix}{classes[name]}"
            parts += [
                f"\n    @cached_property\n    def {name}(self) -> {kind}:\n",
                f'        """{_about(contract, [rpc for _, rpc in collections[name]])}"""\n',
                f"        from {homes[name]} import {kind}\n\n        return {kind}(self._engine)\n",
            ]
    return "".join(parts)


def _index(places: dict[Name, Rpc]) -> str:
    head = _HEADER.format(summary="Which method of a client calls which RPC.")
    rows = "".join(
        f'    "{rpc.full_name}": "{name.collection}.{name.method}",\n'
        for name, rpc in sorted(places.items(), key=itemgetter(0))
    )
    return f"{head}from typing import Final\n\nMETHODS: Final = {{\n{rows}}}\n"
