"""Which networks there are, by the name that a manifest gives as `architecture`."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from inference_server.models.device import Runtime
from inference_server.models.manifest import Manifest
from inference_server.models.torch_backend.architecture import Architecture
from inference_server.models.torch_backend.module_model import PLATFORM, ModuleModel
from inference_server.models.weights import WeightsError
from services.kit.errors import InvalidArgument

_PACKAGE = "inference_server.models.torch_backend"
# Name → module; each has `architecture(options)`, which raises ValueError for options that it does not know.
_ARCHITECTURES = {"small-conv": "small_conv", "yolo11-detector": "detector", "crnn-reader": "line_reader"}


def create(identity: tuple[str, str], manifest: Manifest, read: Callable[[], bytes], runtime: Runtime) -> ModuleModel:
    """Make a model of name and version as its manifest says; raises WeightsError."""
    if manifest.platform not in ("", PLATFORM):
        raise WeightsError(f"tensors are run by {PLATFORM}, and not by {manifest.platform!r}")
    if manifest.max_batch == 0:
        raise WeightsError("max_batch 0 (no batch dimension) is for ONNX only")
    model = ModuleModel(identity, architecture(manifest.architecture, manifest.options), manifest, read, runtime)
    try:
        model.signature.check_samples(manifest.samples)
    except InvalidArgument as error:
        raise WeightsError(f"the manifest's {error.message}") from error
    return model


def architecture(name: str, options: Mapping[str, Any] | None = None) -> Architecture:
    """Return a network by its name and its options; raises WeightsError when there is no such network or option."""
    if name not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise WeightsError(f"the manifest's architecture is {name!r}; there are {known}")
    module = import_module(f"{_PACKAGE}.{_ARCHITECTURES[name]}")
    try:
        found: Architecture = module.architecture(dict(options or {}))
    except ValueError as error:
        raise WeightsError(f"the architecture {name}: {error}") from error
    return found
