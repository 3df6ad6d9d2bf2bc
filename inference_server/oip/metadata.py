"""What the server and its models are, in the protocol's words and in Triton's."""

from collections.abc import Sequence
from typing import Any, Final

from inference_server.engine import Engine
from inference_server.models.device import Device
from inference_server.models.model import Signature, TensorSpec
from inference_server.oip.codecs import codec_of
from inference_server.oip.datatypes import DATATYPES
from inference_server.oip.parameters import DEFAULT_LEVEL, PRIORITY_LEVELS
from kserve import grpc_service_pb2, model_config_pb2

SERVER_NAME: Final = "candela"
SERVER_VERSION: Final = "0.1.0"

# Triton's extensions that are here as a whole. Not here: sequences, shared memory, models that depend on each other;
# trace and log settings can be read only, and binary_tensor_data is HTTP's.
EXTENSIONS: Final = (
    "classification",
    "model_repository",
    "schedule_policy",
    "model_configuration",
    "parameters",
    "statistics",
)

# Platforms of Triton, by which clients know a model's format, to the backend that runs it.
_BACKENDS: Final = {"onnxruntime_onnx": "onnxruntime", "pytorch": "pytorch", "pytorch_libtorch": "pytorch"}


def server_metadata() -> grpc_service_pb2.ServerMetadataResponse:
    return grpc_service_pb2.ServerMetadataResponse(name=SERVER_NAME, version=SERVER_VERSION, extensions=EXTENSIONS)


def model_metadata(engine: Engine[Any, Any], versions: Sequence[str]) -> grpc_service_pb2.ModelMetadataResponse:
    """Return a model's tensors, with the batch dimension (-1) where it has one."""
    codec_of(engine)  # refuses a model without tensors
    signature = _signature(engine)
    return grpc_service_pb2.ModelMetadataResponse(
        name=engine.card.name,
        versions=versions,
        platform=engine.card.platform,
        inputs=[_tensor(spec, batched=signature.batched) for spec in signature.inputs],
        outputs=[_tensor(spec, batched=signature.batched) for spec in signature.outputs],
    )


def model_config(engine: Engine[Any, Any], device: Device) -> model_config_pb2.ModelConfig:
    """Return how a model runs, as far as Triton's configuration has words for it.

    Batches are formed when an instance is free and are as large as was measured to be best, so there is no delay and no
    preferred size to state. `max_batch_size` is 0 for a model whose tensors have no batch dimension, as Triton says it;
    its items still share batches.
    """
    codec_of(engine)
    signature, card = _signature(engine), engine.card
    kind = model_config_pb2.ModelInstanceGroup
    return model_config_pb2.ModelConfig(
        name=card.name,
        platform=card.platform,
        backend=_BACKENDS.get(card.platform, card.platform),
        version_policy=model_config_pb2.ModelVersionPolicy(all=model_config_pb2.ModelVersionPolicy.All()),
        max_batch_size=card.max_batch if signature.batched else 0,
        input=[
            model_config_pb2.ModelInput(name=spec.name, data_type=DATATYPES[spec.datatype].config, dims=spec.shape)
            for spec in signature.inputs
        ],
        output=[
            model_config_pb2.ModelOutput(name=spec.name, data_type=DATATYPES[spec.datatype].config, dims=spec.shape)
            for spec in signature.outputs
        ],
        instance_group=[
            kind(name=card.name, kind=kind.KIND_GPU if device is Device.CUDA else kind.KIND_CPU, count=card.instances)
        ],
        dynamic_batching=_batching(),
        parameters={
            "placement": model_config_pb2.ModelParameter(string_value=str(card.placement)),
            "version": model_config_pb2.ModelParameter(string_value=card.version),
        },
    )


def _batching() -> model_config_pb2.ModelDynamicBatching:
    """Three levels of priority; the deadline of a request holds in the queue, and `timeout` may bring it forward."""
    return model_config_pb2.ModelDynamicBatching(
        priority_levels=PRIORITY_LEVELS,
        default_priority_level=DEFAULT_LEVEL,
        default_queue_policy=model_config_pb2.ModelQueuePolicy(
            timeout_action=model_config_pb2.ModelQueuePolicy.REJECT, allow_timeout_override=True
        ),
    )


def _signature(engine: Engine[Any, Any]) -> Signature[Any, Any]:
    signature = engine.signature
    assert signature is not None  # noqa: S101 - the codec was made of it
    return signature


def _tensor(spec: TensorSpec, *, batched: bool) -> grpc_service_pb2.ModelMetadataResponse.TensorMetadata:
    shape = (-1, *spec.shape) if batched else spec.shape
    return grpc_service_pb2.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=shape)
