"""Requests of the protocol, written short."""

from typing import Any

import numpy as np

from inference_server.oip.datatypes import DATATYPES
from inference_server.oip.tensors import to_raw
from kserve import grpc_service_pb2 as pb


def request(
    model: str, *arrays: tuple[str, str, Any], outputs: tuple[str, ...] = (), **fields: Any
) -> pb.ModelInferRequest:
    """Return a request with raw inputs, each a name, a datatype and nested lists or an array."""
    made = pb.ModelInferRequest(model_name=model, **fields)
    for name, datatype, values in arrays:
        array = np.array(values, DATATYPES[datatype].dtype)
        made.inputs.add(name=name, datatype=datatype, shape=array.shape)
        made.raw_input_contents.append(to_raw(array, DATATYPES[datatype]))
    for output in outputs:
        made.outputs.add(name=output)
    return made


def double(*rows: list[float], **fields: Any) -> pb.ModelInferRequest:
    return request("double", ("X", "FP32", rows), **fields)


def hold(value: float, **fields: Any) -> pb.ModelInferRequest:
    """Return a request to the model that the test holds."""
    return request("held", ("X", "FP32", [[value]]), **fields)


def array_of(response: pb.ModelInferResponse, name: str) -> Any:
    """Return an output as an array of numbers."""
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name == name:
            return np.frombuffer(raw, DATATYPES[output.datatype].dtype).reshape(tuple(output.shape))
    raise AssertionError(f"no output {name}")
