"""What an inference server cannot be faster than: ModelInfer answered at once behind the kit's whole pipeline.

Run like our server: `python -m tests.bench.inference.echo WORKLOAD`.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from inference_server.settings import InferenceSettings
from kserve import grpc_service_pb2
from kserve.grpc_service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server
from services.kit.access import Access, Level
from services.kit.bootstrap import Binding, Mesh, run
from tests.bench.inference.works import Counter

_ANSWER_BYTES = 16


class Echo(GRPCInferenceServiceServicer):
    """Answers each item with its beginning."""

    def __init__(self) -> None:
        self._counter = Counter(Path(os.environ["CANDELA_BENCH_COUNTS"]))

    async def ModelInfer(
        self,
        request: grpc_service_pb2.ModelInferRequest,
        context: grpc.aio.ServicerContext[grpc_service_pb2.ModelInferRequest, grpc_service_pb2.ModelInferResponse],
    ) -> grpc_service_pb2.ModelInferResponse:
        """Answer at once."""
        self._counter.add(1)
        output = grpc_service_pb2.ModelInferResponse.InferOutputTensor(
            name="OUTPUT", datatype="UINT8", shape=[1, _ANSWER_BYTES]
        )
        answer = request.raw_input_contents[0][:_ANSWER_BYTES]
        return grpc_service_pb2.ModelInferResponse(
            model_name=request.model_name, model_version="1", outputs=[output], raw_output_contents=[answer]
        )


@asynccontextmanager
async def compose(_: Mesh[InferenceSettings]) -> AsyncIterator[Sequence[Binding]]:
    """Serve the echo."""
    echo = Echo()  # type: ignore[abstract] # the others answer UNIMPLEMENTED
    yield [Binding(add_GRPCInferenceServiceServicer_to_server, echo, Access(Level.SERVICE), logged=False)]


if __name__ == "__main__":
    run(InferenceSettings, compose)
