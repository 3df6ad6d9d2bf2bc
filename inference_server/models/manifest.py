"""`model.json`: the hash of every file of a model, and what its files do not say themselves."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from inference_server.models.weights import WeightsError

_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Length = Annotated[int, Field(ge=1, le=1 << 20)]
MAX_BYTES = 1 << 20


class Manifest(BaseModel):
    """A model as its folder describes it. Unknown members are errors, so that a typo is not silently without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    files: dict[str, _Sha256] = Field(
        description="SHA-256 of each file, by its path from the folder of this manifest (`1/model.onnx`, `model.onnx`)."
    )
    platform: str = Field("", description="`onnxruntime_onnx` or `pytorch`; follows from the file if empty.")
    architecture: str = Field("", description="Which of our networks the tensors are for; for safetensors and GGUF.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Options of the architecture.")
    max_batch: int | None = Field(
        None, ge=0, le=4096, description="Most items of a batch; 0: tensors have no batch dimension. 64 if not given."
    )
    instances: int | None = Field(
        None, ge=1, le=256, description="How many batches may run at the same time; one a core or a GPU if not given."
    )
    samples: list[dict[str, list[_Length]]] = Field(
        default_factory=list,
        description="Common shapes of an item's inputs, without the batch dimension, to warm up with; for open shapes.",
    )


def parse(data: bytes, what: str) -> Manifest:
    """Read a manifest; raises WeightsError that names `what`, and what is wrong."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise WeightsError(f"{what}: {where + ': ' if where else ''}{first['msg']}") from error
