"""`python -m supervisor models`: asks the inference servers of the running mesh about their models."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

import grpc
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.text import Text

from candela.inference.v1 import model_pb2 as pb
from candela.inference.v1.model_service_pb2 import (
    GetModelStatisticsRequest,
    ListModelsRequest,
    LoadModelRequest,
    UnloadModelRequest,
)
from candela.inference.v1.model_service_pb2_grpc import ModelServiceStub
from services.kit.identity import ServiceIdentity
from supervisor.datadir import DataDir
from supervisor.models_view import details, identity, overview
from supervisor.status import ProcessStatus, read_status
from supervisor.top_view import waiting

_SECONDS = 10.0
_LOADING_SECONDS = 300.0  # weights are read and models are warmed up, or each is measured for two seconds
_PLAIN_WIDTH = 180
_CALLER, _CALLEE = "supervisor", "inference"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asked for: one model (`name` or `name@version`) or all, and what to do first."""

    name: str = ""
    json: bool = False
    measure: bool = False
    load: str = ""
    unload: str = ""


def show_models(data: DataDir, wish: Wish, out: TextIO = sys.stdout) -> int:
    """Print the models of every inference server; 1 when no mesh runs or a server does not answer or refuses."""
    width = None if out.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    console = Console(file=out, highlight=False, width=width)
    told = Console(stderr=True, highlight=False) if wish.json else console  # a program reads the other one
    status = read_status(data)
    if status is None:
        told.print(waiting(str(data.root)), soft_wrap=True)
        return 1
    servers = [process for process in status.processes if process.group == _CALLEE]
    me = ServiceIdentity.load(_CALLER, data.keys)
    failed, seen = False, {}
    for process in servers:
        try:
            seen[process.name] = _Server(process, me).look(wish)
        except grpc.RpcError as error:
            failed = True
            told.print(Text.assemble((f"{process.name} ", "bold"), ("● ", "red"), _said(error)), soft_wrap=True)
    if wish.json:
        out.write(json.dumps({name: look.to_json() for name, look in seen.items()}, indent=2) + "\n")
    else:
        for name, look in seen.items():
            look.show(console, name, wish)
    return 1 if failed or not servers else 0


@dataclass(frozen=True, slots=True)
class _Look:
    """The models of one server, and the statistics of the loaded ones."""

    address: str
    models: list[pb.Model]
    statistics: dict[str, pb.ModelStatistics]

    def to_json(self) -> dict[str, Any]:
        statistics = {name: MessageToDict(one) for name, one in self.statistics.items()}
        return {
            "address": self.address,
            "models": [MessageToDict(one) for one in self.models],
            "statistics": statistics,
        }

    def show(self, console: Console, name: str, wish: Wish) -> None:
        console.print(Text.assemble((name, "bold"), (f"  {self.address}", "dim")))
        console.print(Text(""))
        if not wish.name:
            console.print(overview(self.models, self.statistics, console.width))
        for model in self.models if wish.name else ():
            had = self.statistics.get(identity(model))
            if had is None:
                console.print(overview([model], {}, console.width))
            else:
                console.print(details(model, had, console.width))
        if wish.name and not self.models:
            console.print(f"no model {wish.name} is known here")
        console.print(Text(""))


class _Server:
    """One inference server, asked as a service of the mesh with the mesh's own key."""

    def __init__(self, process: ProcessStatus, me: ServiceIdentity) -> None:
        self._address = process.address
        self._me = me

    def look(self, wish: Wish) -> _Look:
        """Do what is wished for and return what there is then. Raises grpc.RpcError."""
        with grpc.insecure_channel(self._address) as channel:
            stub = ModelServiceStub(channel)
            options: dict[str, Any] = {"metadata": self._me.metadata_for(_CALLEE), "timeout": _SECONDS}
            patient = options | {"timeout": _LOADING_SECONDS}
            if wish.load:
                stub.LoadModel(LoadModelRequest(**_named(wish.load)), **patient)
            if wish.unload:
                stub.UnloadModel(UnloadModelRequest(**_named(wish.unload)), **options)
            models = [one for one in _all(stub, wish, patient) if wish.name in ("", one.name, identity(one))]
            statistics = {
                identity(one): stub.GetModelStatistics(
                    GetModelStatisticsRequest(name=one.name, version=one.version), **options
                )
                for one in models
                if one.state == pb.MODEL_STATE_READY
            }
        return _Look(self._address, models, statistics)


def _all(stub: Any, wish: Wish, options: dict[str, Any]) -> Iterator[pb.Model]:
    token = ""
    while True:
        request = ListModelsRequest(page_token=token, page_size=1000, measure_invariance=wish.measure)
        page = stub.ListModels(request, **options)
        yield from page.models
        token = page.next_page_token
        if not token:
            return


def _named(wanted: str) -> dict[str, str]:
    name, _, version = wanted.partition("@")
    return {"name": name, "version": version}


def _said(error: grpc.RpcError) -> str:
    code, said = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAVAILABLE and "connect" in said.lower():
        return "does not answer: make top shows what state it is in, its log why"
    return f"{code.name}: {said}"
