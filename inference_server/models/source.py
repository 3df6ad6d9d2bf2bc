"""Where models come from: the built-in catalogue, a folder on disk, or a program that brings its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inference_server.models.catalogue import CATALOGUE, Task
from inference_server.models.device import Runtime
from inference_server.models.model import Model

AnyModel = Model[Any, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A model that could be loaded, without loading it.

    `version` is empty where the source has one version only and knows its number when the model is made. `task` is
    None for a model that no typed RPC serves: generic clients find it by its name.
    """

    name: str
    version: str = ""
    task: Task | None = None


class ModelSource(Protocol):
    """Knows models and makes them. Called on threads, never on the loop: it may read files and import packages."""

    def entries(self) -> Sequence[Listing]:
        """Return what there is now; a folder may have changed since the last time."""

    def create(self, name: str, version: str, runtime: Runtime) -> AnyModel:
        """Make a new model that is not loaded yet, the newest one for an empty version.

        Every call makes a model of its own: while one is replaced, the old and the new one live side by side. Raises
        WeightsError for a model that cannot be made, KeyError for one that is not there.
        """


class BuiltIn:
    """The models of the catalogue; a module with everything heavy it needs is imported when its model is made."""

    def entries(self) -> Sequence[Listing]:
        return [Listing(entry.name, task=entry.task) for entry in CATALOGUE.values()]

    def create(self, name: str, version: str, runtime: Runtime) -> AnyModel:
        model = CATALOGUE[name].create(runtime)
        if version not in ("", model.card.version):
            raise KeyError(version)
        return model


Factory = Callable[[Runtime], AnyModel]


class Given:
    """Models that a program brings itself: tests, benchmarks, servers of other people's models.

    `Given({Listing("double", "1"): lambda runtime: Double()})`
    """

    def __init__(self, factories: Mapping[Listing, Factory]) -> None:
        self._factories = dict(factories)

    def entries(self) -> Sequence[Listing]:
        return list(self._factories)

    def create(self, name: str, version: str, runtime: Runtime) -> AnyModel:
        for listing, factory in reversed(self._factories.items()):
            if listing.name == name and version in ("", listing.version):
                return factory(runtime)
        raise KeyError(f"{name}@{version}")


def ready_made(*models: tuple[Task | None, AnyModel]) -> Given:
    """Return a source of models that exist; each can be loaded once, and again only after it was unloaded."""
    return Given({Listing(model.card.name, model.card.version, task): _constant(model) for task, model in models})


def _constant(model: AnyModel) -> Factory:
    return lambda runtime: model
