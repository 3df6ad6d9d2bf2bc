"""Triton's model repository extension over the models of this process."""

from collections.abc import Mapping
from typing import Any, Final

from inference_server.engine import Engine
from inference_server.host import ModelHost
from inference_server.oip.refusals import invalid
from inference_server.versions import State
from kserve import grpc_service_pb2
from services.kit.errors import NotFound, Unimplemented

_OVERRIDES: Final = ("config", "file:")  # of loads: a model's configuration and files, sent along
_VERSIONS: Final = "version"
_DEPENDENTS: Final = "unload_dependents"  # there are none: no model here is made of others


async def index(
    host: ModelHost, request: grpc_service_pb2.RepositoryIndexRequest
) -> grpc_service_pb2.RepositoryIndexResponse:
    """Return every model that is loaded or could be, only those that can be called if `ready` is asked for."""
    _check_repository(request.repository_name)
    await host.scan()
    known = [model for model in host.index() if not request.ready or model.state is State.READY]
    entry = grpc_service_pb2.RepositoryIndexResponse.ModelIndex
    return grpc_service_pb2.RepositoryIndexResponse(
        models=[
            entry(name=model.name, version=model.version, state=str(model.state), reason=model.reason)
            for model in known
        ]
    )


async def load(host: ModelHost, request: grpc_service_pb2.RepositoryModelLoadRequest) -> None:
    """Load a model, or load it again, and return when it takes work; raises what ModelHost.load raises.

    Our own parameter `version` names one version; without it the newest is loaded and replaces the others.
    """
    _check_repository(request.repository_name)
    for name in request.parameters:
        if name.startswith(_OVERRIDES):
            raise Unimplemented(
                f"the load parameter '{name}' is not supported: models are loaded as they lie on the server's disk",
                metadata={"parameter": name},
            )
    await host.load(_model_name(request.model_name), _version(request.parameters, (_VERSIONS,)))


async def unload(host: ModelHost, request: grpc_service_pb2.RepositoryModelUnloadRequest) -> None:
    """Take a model out of service, all versions if our parameter `version` names none; what it has it finishes."""
    _check_repository(request.repository_name)
    version = _version(request.parameters, (_VERSIONS, _DEPENDENTS))
    await host.unload(_model_name(request.model_name), version)


def engines(host: ModelHost, name: str, version: str) -> list[Engine[Any, Any]]:
    """Return the engines that take work: all, those of a model, or that of one version; NotFound when it has none."""
    found = [
        engine for engine in host.engines() if name in ("", engine.card.name) and version in ("", engine.card.version)
    ]
    if name and not found:
        which = f"'{name}' version {version}" if version else f"'{name}'"
        raise NotFound(
            f"Request for unknown model: {which} is not found", reason="MODEL_NOT_FOUND", metadata={"model": name}
        )
    return found


def is_ready(host: ModelHost, name: str, version: str) -> bool:
    """Say whether a model can be called; one that nobody knows cannot."""
    return any(
        model.name == name and version in ("", model.version) and model.state is State.READY for model in host.index()
    )


def _check_repository(name: str) -> None:
    if name:
        raise Unimplemented(
            "'repository_name' specification is not supported: there is one repository", metadata={"repository": name}
        )


def _model_name(name: str) -> str:
    if not name:
        raise invalid("the request names no model")
    return name


def _version(parameters: Mapping[str, Any], known: tuple[str, ...]) -> str:
    """Return the version that the parameters name, empty for none; refuses parameters that mean nothing here."""
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise invalid(f"unrecognized parameter '{unknown[0]}'", parameter=unknown[0])
    return parameters[_VERSIONS].string_param if _VERSIONS in parameters else ""
