"""The inference server's start-up settings."""

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from inference_server.models.catalogue import CATALOGUE
from inference_server.models.device import Device, Runtime
from services.kit.settings import MIB, ServerSettings


class InferenceSettings(ServerSettings):
    """What the inference server reads."""

    service_name: ClassVar[str] = "inference"
    # An empty list of models means none here, so empty variables are sorted out below and not by the base class.
    model_config = SettingsConfigDict(env_ignore_empty=False)

    inference_models: str = Field(
        ",".join(CATALOGUE),
        description="The models to load, names separated by commas; none if set to nothing: the server then runs small "
        "and answers model calls with UNAVAILABLE.",
    )
    inference_repository: Path | None = Field(
        None,
        description="A folder of models, laid out as Triton's, all of which are loaded beside the built-in ones: "
        "`<name>/<version>/model.onnx` and `<name>/model.json` with the hashes of the files.",
    )
    device: Device = Field(Device.CPU, description="Where models compute. `cuda` needs the package onnxruntime-gpu.")
    inference_threads: int = Field(
        0, ge=0, le=1024, description="CPU cores that models may keep busy; every core the process may use if 0."
    )
    inference_queue_items: int = Field(4096, ge=2000, description="Most items that may wait for one model.")
    inference_queue_mib: int = Field(
        512, ge=160, description="Most memory that the inputs waiting for one model may take, in MiB."
    )
    inference_devices: int = Field(
        1,
        ge=1,
        le=64,
        description="CUDA devices that every model is loaded on, from number 0; its instances are spread over them.",
    )
    inference_memory_mib: int = Field(
        0,
        ge=0,
        description="Most memory that the process may have, in MiB: a model that would need more is not loaded. "
        "No bound if 0.",
    )
    inference_weights: str = Field(
        "",
        description="Shares of the models by tenant, for whoever is to have more or less than others while all want "
        "work done: `acme=3,bolt=0.5`. Who is not named has 1. In the tenant `default` each user is on their own: "
        "`default/<user>`.",
    )
    inference_timing_ms: int = Field(
        250,
        ge=0,
        le=60_000,
        description="How long each model is timed with batches of several sizes before it takes work, in milliseconds, "
        "so that the first decisions about batches are no guesses. 0 leaves it out.",
    )
    # 50,000,000 pixels of three bytes, the largest picture of the contract, and what surrounds it.
    max_receive_bytes: int = Field(160 * MIB, ge=1024, description="Largest message taken in, in bytes.")

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models to load, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.inference_models.split(",") if name.strip()))

    @property
    def runtime(self) -> Runtime:
        """The device and cores for the models."""
        return Runtime(self.device, self.inference_threads)

    @property
    def runtimes(self) -> list[Runtime]:
        """Where each model is loaded: one place on CPUs, one for each device on CUDA."""
        if self.device is Device.CPU:
            return [self.runtime]
        return [replace(self.runtime, index=index) for index in range(self.inference_devices)]

    @property
    def weights(self) -> dict[str, float]:
        """The shares of tenants that have another one than 1."""
        return _weights(self.inference_weights)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value != "" or name == "inference_models"}

    @field_validator("inference_models")
    @classmethod
    def _check_models(cls, value: str) -> str:
        unknown = [name.strip() for name in value.split(",") if name.strip() and name.strip() not in CATALOGUE]
        if unknown:
            raise ValueError(f"no such model: {', '.join(unknown)}; there are {', '.join(CATALOGUE)}")
        return value

    @field_validator("inference_weights")
    @classmethod
    def _check_weights(cls, value: str) -> str:
        _weights(value)
        return value


def _weights(value: str) -> dict[str, float]:
    """Read `acme=3,bolt=0.5`; raises ValueError."""
    weights: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        tenant, equals, share = part.rpartition("=")
        try:
            weights[tenant.strip()] = float(share)
        except ValueError:
            equals = ""
        if not equals or not tenant.strip() or not 0.001 <= weights[tenant.strip()] <= 1000:
            raise ValueError(f"{part!r} is not a tenant and its share: acme=3, with a share from 0.001 to 1000")
    return weights
