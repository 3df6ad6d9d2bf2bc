"""What the stock Triton client does against a server of tests/support/tensor_models.py.

Runs in the environment of scripts/tritonclient.py, which has nothing of ours: only the standard library, numpy and
tritonclient may be imported here. Each scenario asserts; tritonclient_driver.py runs them for the tests.
"""

import asyncio
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

Headers = dict[str, str]


def _input(name: str, values: Any) -> Any:
    made = triton.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values)
    return made


def _floats(name: str, values: Any) -> Any:
    return _input(name, np.array(values, np.float32))


@contextmanager
def _refused(status: str, words: str = "") -> Iterator[None]:
    refusal = None
    try:
        yield
    except InferenceServerException as error:
        refusal = error
    assert refusal is not None, f"nothing was refused, {status} was expected"
    assert refusal.status() == f"StatusCode.{status}", refusal
    assert words in refusal.message(), refusal


def server_and_model_metadata(client: Any, headers: Headers) -> None:
    assert client.is_server_live(headers)
    assert client.is_server_ready(headers)
    assert client.is_model_ready("double", headers=headers)
    assert not client.is_model_ready("nobody", headers=headers)
    server = client.get_server_metadata(headers)
    assert server.name == "candela"
    assert "statistics" in server.extensions
    model = client.get_model_metadata("double", headers=headers, as_json=True)
    assert model["inputs"] == [{"name": "X", "datatype": "FP32", "shape": ["-1", "4"]}]
    config = client.get_model_config("double", headers=headers).config
    assert config.max_batch_size == 8
    assert config.input[0].data_type == triton.model_config_pb2.TYPE_FP32
    assert config.dynamic_batching.priority_levels == 3


def inference(client: Any, headers: Headers) -> None:
    inputs = [_floats("X", [[1, 2, 3, 4], [5, 6, 7, 8]])]
    result = client.infer("double", inputs, headers=headers, request_id="seven")
    assert result.get_response().id == "seven"
    assert result.get_response().model_version == "2"
    assert result.as_numpy("Y").tolist() == [[3, 6, 9, 12], [15, 18, 21, 24]]
    assert result.as_numpy("SUM").tolist() == [10, 26]
    only = client.infer("double", inputs, outputs=[triton.InferRequestedOutput("SUM")], headers=headers, priority=1)
    assert only.as_numpy("SUM").tolist() == [10, 26]
    assert only.as_numpy("Y") is None
    for algorithm in ("gzip", "deflate"):
        packed = client.infer("double", inputs, headers=headers, compression_algorithm=algorithm, parameters={"x": 1})
        assert packed.as_numpy("SUM").tolist() == [10, 26]


_ARRAYS = {
    "bool": np.array([True, False]),
    **{f"{sign}int{bits}": np.array([0, 100], f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "fp16": np.array([0.5, -2], np.float16),
    "fp32": np.array([0.1, -2], np.float32),
    "fp64": np.array([0.1, 1e300], np.float64),
    "bytes": np.array([b"", "灯".encode(), b"\0\xff"], np.object_),
    "bf16": np.array([0.5, -3], ml_dtypes.bfloat16),
}


def every_datatype(client: Any, headers: Headers) -> None:
    for name, values in _ARRAYS.items():
        answer = client.infer(f"echo-{name}", [_input("X", values)], headers=headers).as_numpy("Y")
        assert answer.tolist() == values.tolist(), name


def classification(client: Any, headers: Headers) -> None:
    outputs = [triton.InferRequestedOutput("Y", class_count=2)]
    answer = client.infer("double", [_floats("X", [[1, 4, 3, 2]])], outputs=outputs, headers=headers)
    assert answer.as_numpy("Y").tolist() == [[b"12.000000:1", b"9.000000:2"]]


def errors(client: Any, headers: Headers) -> None:
    good = [_floats("X", [[1, 2, 3, 4]])]
    with _refused("NOT_FOUND", "Request for unknown model: 'nobody' is not found"):
        client.infer("nobody", good, headers=headers)
    with _refused("NOT_FOUND", "version 9"):
        client.infer("double", good, model_version="9", headers=headers)
    with _refused("UNAVAILABLE", "'double' has no available versions"):
        client.infer("double", good, model_version="1", headers=headers)
    with _refused("INVALID_ARGUMENT", "expected [-1,4], got [1,3]"):
        client.infer("double", [_floats("X", [[1, 2, 3]])], headers=headers)
    with _refused("INVALID_ARGUMENT", "unexpected inference input 'Z'"):
        client.infer("double", [_floats("Z", [[1, 2, 3, 4]])], headers=headers)
    with _refused("INVALID_ARGUMENT", "data-type"):
        client.infer("double", [_input("X", np.zeros((1, 4)))], headers=headers)
    with _refused("INVALID_ARGUMENT", "X must not be negative"):
        client.infer("double", [_floats("X", [[1, 2, 3, 4], [-1, 2, 3, 4]])], headers=headers)
    with _refused("INVALID_ARGUMENT", "unexpected inference output 'Z'"):
        client.infer("double", good, outputs=[triton.InferRequestedOutput("Z")], headers=headers)
    with _refused("UNIMPLEMENTED", "sequence_id"):
        client.infer("double", good, sequence_id=5, sequence_start=True, headers=headers)
    with _refused("UNIMPLEMENTED", "no tensors"):
        client.infer("wordless", good, headers=headers)


def identity(client: Any, headers: Headers) -> None:
    with _refused("UNAUTHENTICATED"):
        client.infer("double", [_floats("X", [[1, 2, 3, 4]])])
    with _refused("UNAUTHENTICATED"):
        client.is_server_live()
    with _refused("UNAUTHENTICATED"):
        client.get_inference_statistics(headers={"authorization": "Bearer none"})


def concurrency(client: Any, headers: Headers) -> None:
    answers: queue.Queue[tuple[int, Any, Any]] = queue.Queue()

    def take(number: int, result: Any, error: Any) -> None:
        answers.put((number, result, error))

    for number in range(200):
        client.async_infer("double", [_floats("X", [[number, 0, 0, 0]])], partial(take, number), headers=headers)
    for _ in range(200):
        number, result, error = answers.get(timeout=20)
        assert error is None, error
        assert result.as_numpy("SUM").tolist() == [number]


def asynchronous(client: Any, headers: Headers, address: str) -> None:
    async def run() -> None:
        async with triton_aio.InferenceServerClient(address) as aio:
            assert await aio.is_model_ready("double", headers=headers)
            calls = [aio.infer("double", [_floats("X", [[n, 1, 0, 0]])], headers=headers) for n in range(100)]
            results = await asyncio.gather(*calls)
            assert [one.as_numpy("SUM").tolist() for one in results] == [[n + 1] for n in range(100)]
            with _refused("NOT_FOUND"):
                await aio.infer("nobody", [_floats("X", [[1]])], headers=headers)

            async def asked() -> Any:
                for number in range(30):
                    values = [number, 0, 0, 0] if number != 7 else [-1, 0, 0, 0]
                    yield {"model_name": "double", "inputs": [_floats("X", [values])], "request_id": str(number)}

            seen = [one async for one in aio.stream_infer(asked(), headers=headers)]
            assert len(seen) == 30
            assert [number for number, (_, error) in enumerate(seen) if error] == [7]
            assert [one.get_response().id for one, error in seen if not error][:3] == ["0", "1", "2"]
            client.infer("double", [_floats("X", [[1, 2, 3, 4]])], headers=headers)

    asyncio.run(run())


def streaming(client: Any, headers: Headers) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    for number in range(100):
        values = [number, 0, 0, 0] if number != 50 else [-1, 0, 0, 0]
        client.async_stream_infer(
            "double",
            [_floats("X", [values])],
            request_id=str(number),
            enable_empty_final_response=number % 2 == 0,
        )
    for number in range(100):
        result, error = answers.get(timeout=20)
        if number == 50:
            assert "X must not be negative" in error.message()
            continue
        assert error is None, error
        assert result.get_response().id == str(number)
        assert result.as_numpy("SUM").tolist() == [number]
        assert result.get_response().parameters["triton_final_response"].bool_param
    client.stop_stream()
    assert answers.empty()


def cancelled_stream(client: Any, headers: Headers) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
    for _ in range(20):
        client.async_stream_infer("sleeper", [_floats("SECONDS", [[0.2]])])
    _, error = answers.get(timeout=10)  # the first is answered, so the others are there
    assert error is None, error
    client.stop_stream(cancel_requests=True)
    ended = [answers.get(timeout=10)]
    while ended[-1][1] is None:
        ended.append(answers.get(timeout=10))
    assert ended[-1][1].status() == "StatusCode.CANCELLED"
    _until(lambda: _statistics(client, headers, "sleeper").response_stats["0"].cancel.count > 0)


def cancellation(client: Any, headers: Headers) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    call = client.async_infer(
        "sleeper", [_floats("SECONDS", [[0.5]])], lambda result, error: answers.put((result, error)), headers=headers
    )
    call.cancel()
    _, error = answers.get(timeout=10)
    assert error.status() == "StatusCode.CANCELLED"


def timeouts(client: Any, headers: Headers) -> None:
    with _refused("DEADLINE_EXCEEDED"):
        client.infer("idler", [_floats("SECONDS", [[0.5]])], headers=headers, client_timeout=0.1)
    # The request's own timeout, in microseconds, is for the queue: one that is long enough harms nobody.
    answer = client.infer("idler", [_floats("SECONDS", [[0.0]])], headers=headers, timeout=10_000_000)
    assert answer.as_numpy("SLEPT").tolist() == [[0.0]]


def statistics(client: Any, headers: Headers) -> None:
    before = _statistics(client, headers, "pair")
    values = np.ones((3, 1, 2), np.int32)
    for _ in range(4):
        client.infer("pair", [_input("A", values), _input("B", values)], headers=headers)

    def counted() -> bool:
        return bool(_statistics(client, headers, "pair").inference_count == before.inference_count + 12)

    _until(counted)
    seen = _statistics(client, headers, "pair")
    assert 4 <= seen.execution_count - before.execution_count <= 12
    assert seen.inference_stats.success.count == seen.inference_count
    assert seen.inference_stats.compute_infer.ns > 0
    assert sum(one.batch_size * one.compute_infer.count for one in seen.batch_stats) == seen.inference_count
    everything = client.get_inference_statistics(headers=headers, as_json=True)["model_stats"]
    assert {"pair", "double"} <= {one["name"] for one in everything}


def repository(client: Any, headers: Headers) -> None:
    index = {(one.name, one.version): one.state for one in client.get_model_repository_index(headers).models}
    assert index["ragged", "1"] == "READY"
    assert index["double", "1"] == "UNAVAILABLE"
    asked = [_input("N", np.array([[2]], np.int32))]
    client.unload_model("ragged", headers=headers)
    assert not client.is_model_ready("ragged", headers=headers)
    with _refused("UNAVAILABLE", "'ragged' has no available versions"):
        client.infer("ragged", asked, headers=headers)
    client.load_model("ragged", headers=headers)
    assert client.infer("ragged", asked, headers=headers).as_numpy("Y").tolist() == [[0, 1]]
    with _refused("NOT_FOUND", "nobody"):
        client.load_model("nobody", headers=headers)
    with _refused("NOT_FOUND"):
        client.unload_model("nobody", headers=headers)
    with _refused("UNIMPLEMENTED", "'config'"):
        client.load_model("ragged", config='{"max_batch_size": 1}', headers=headers)


def settings(client: Any, headers: Headers) -> None:
    assert client.get_trace_settings(headers=headers).settings["trace_mode"].value == ["opentelemetry"]
    assert client.get_log_settings(headers=headers).settings["log_error"].bool_param
    with _refused("UNIMPLEMENTED", "CANDELA_TRACE_SAMPLING_RATIO"):
        client.update_trace_settings(settings={"trace_rate": "9"}, headers=headers)
    with _refused("UNIMPLEMENTED", "CANDELA_LOG_LEVEL"):
        client.update_log_settings({"log_info": False}, headers=headers)


def shared_memory(client: Any, headers: Headers) -> None:
    client.unregister_system_shared_memory(headers=headers)
    client.unregister_cuda_shared_memory(headers=headers)
    assert not client.get_system_shared_memory_status(headers=headers).regions
    with _refused("UNIMPLEMENTED", "shared memory is not supported"):
        client.register_system_shared_memory("mine", "/mine", 64, headers=headers)
    placed = triton.InferInput("X", [1, 4], "FP32")
    placed.set_shared_memory("mine", 16)
    with _refused("UNIMPLEMENTED", "shared memory"):
        client.infer("double", [placed], headers=headers)


def built_in_models(client: Any, headers: Headers) -> None:
    """Against the mesh itself: whatever is loaded there describes itself, and the models of texts and pictures work."""
    ready = {one.name for one in client.get_model_repository_index(headers).models if one.state == "READY"}
    assert {"ppocr-det", "ppocr-rec", "sentence-embed"} <= ready, ready
    for name in ready:
        metadata = client.get_model_metadata(name, headers=headers)
        assert metadata.inputs, name
        assert client.get_model_config(name, headers=headers).config.name == name
    metadata = client.get_model_metadata("sentence-embed", headers=headers)
    shape = [1] * len(metadata.inputs[0].shape)
    texts = [
        np.full(shape, text, np.object_) for text in (b"a lamp in the night", b"a light in the dark", b"tax forms")
    ]
    first, near, far = (
        client.infer("sentence-embed", [_input(metadata.inputs[0].name, text)], headers=headers)
        .as_numpy("embedding")
        .ravel()
        for text in texts
    )
    assert first @ near > first @ far
    white = np.full((64, 96, 3), 255, np.uint8)
    picture = client.get_model_metadata("ppocr-det", headers=headers).inputs[0]
    found = client.infer(
        "ppocr-det", [_input(picture.name, white if len(picture.shape) == 3 else white[np.newaxis])], headers=headers
    )
    assert found.as_numpy("boxes").shape[-2:] == (4, 2)
    assert found.as_numpy("scores").size == 0


def _statistics(client: Any, headers: Headers, name: str) -> Any:
    return client.get_inference_statistics(name, headers=headers).model_stats[0]


def _until(probe: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what the server counts a moment after its answer."""
    end = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


SCENARIOS: dict[str, Callable[..., None]] = {
    one.__name__: one
    for one in (
        *(server_and_model_metadata, inference, every_datatype, classification, errors, identity, concurrency),
        *(asynchronous, streaming, cancelled_stream, cancellation, timeouts, statistics, repository, settings),
        *(shared_memory, built_in_models),
    )
}
