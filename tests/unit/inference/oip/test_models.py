"""What the protocol says of the server and its models: metadata, statistics, the repository, settings."""

import gc
import tomllib
from pathlib import Path
from typing import Any

import pytest

from inference_server.models.device import Runtime
from inference_server.models.source import Given, Listing
from inference_server.models.weights import WeightsError
from inference_server.oip import codecs
from kserve import grpc_service_pb2 as pb
from kserve import model_config_pb2
from services.kit.errors import CandelaError, FailedPrecondition, InvalidArgument, NotFound, Unavailable, Unimplemented
from tests.support.eventually import eventually
from tests.support.tensor_models import TensorModel, double
from tests.support.tensor_models import sleeper as make_sleeper
from tests.unit.inference.oip.conftest import Oip, serve
from tests.unit.inference.oip.requests import double as double_request
from tests.unit.inference.oip.requests import request


async def _ready(oip: Oip, name: str, version: str = "") -> bool:
    asked = pb.ModelReadyRequest(name=name, version=version)
    return (await oip.stub.ModelReady(asked, metadata=oip.metadata)).ready


async def test_the_server_lives_and_is_ready_until_it_drains(oip: Oip) -> None:
    assert (await oip.stub.ServerLive(pb.ServerLiveRequest(), metadata=oip.metadata)).live
    assert (await oip.stub.ServerReady(pb.ServerReadyRequest(), metadata=oip.metadata)).ready
    assert await _ready(oip, "double")
    oip.draining.set()
    assert (await oip.stub.ServerLive(pb.ServerLiveRequest(), metadata=oip.metadata)).live
    assert not (await oip.stub.ServerReady(pb.ServerReadyRequest(), metadata=oip.metadata)).ready
    assert not await _ready(oip, "double")


async def test_a_model_is_ready_that_can_be_called(oip: Oip) -> None:
    assert await _ready(oip, "double", "2")
    assert not await _ready(oip, "double", "1")
    assert not await _ready(oip, "double", "9")
    assert not await _ready(oip, "nobody")


async def test_the_server_names_itself_and_only_what_it_has(oip: Oip) -> None:
    answer = await oip.stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=oip.metadata)
    assert answer.name == "candela"
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())
    assert answer.version == project["project"]["version"]
    assert {"model_repository", "statistics", "model_configuration"} <= set(answer.extensions)
    assert not {"sequence", "system_shared_memory", "cuda_shared_memory", "trace", "logging"} & set(answer.extensions)


async def test_metadata_shows_tensors_with_the_batch_dimension(oip: Oip) -> None:
    await oip.host.load("double", "1")
    answer = await oip.stub.ModelMetadata(pb.ModelMetadataRequest(name="double"), metadata=oip.metadata)
    assert (answer.name, list(answer.versions), answer.platform) == ("double", ["1", "2"], "python")
    assert [(one.name, one.datatype, list(one.shape)) for one in answer.inputs] == [("X", "FP32", [-1, 4])]
    assert [(one.name, list(one.shape)) for one in answer.outputs] == [("Y", [-1, 4]), ("SUM", [-1])]
    flat = await oip.stub.ModelMetadata(pb.ModelMetadataRequest(name="echo-bytes"), metadata=oip.metadata)
    assert [(one.datatype, list(one.shape)) for one in flat.inputs] == [("BYTES", [-1])]


async def test_the_configuration_says_how_the_model_runs(oip: Oip) -> None:
    answer = await oip.stub.ModelConfig(pb.ModelConfigRequest(name="double"), metadata=oip.metadata)
    config = answer.config
    assert (config.name, config.platform, config.max_batch_size) == ("double", "python", 8)
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input] == [
        ("X", model_config_pb2.TYPE_FP32, [4])
    ]
    assert config.instance_group[0].count == 1
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_CPU
    assert (config.dynamic_batching.priority_levels, config.dynamic_batching.default_priority_level) == (3, 2)
    flat = await oip.stub.ModelConfig(pb.ModelConfigRequest(name="echo-bytes"), metadata=oip.metadata)
    assert flat.config.max_batch_size == 0
    assert flat.config.input[0].data_type == model_config_pb2.TYPE_STRING


@pytest.mark.parametrize(("name", "kind"), [("nobody", NotFound), ("", InvalidArgument), ("wordless", Unimplemented)])
async def test_what_is_not_there_has_no_metadata(oip: Oip, name: str, kind: type[CandelaError]) -> None:
    for call in (
        oip.stub.ModelMetadata(pb.ModelMetadataRequest(name=name), metadata=oip.metadata),
        oip.stub.ModelConfig(pb.ModelConfigRequest(name=name), metadata=oip.metadata),
    ):
        assert type(await oip.refusal(call)) is kind


async def _statistics(oip: Oip, name: str, version: str = "") -> list[pb.ModelStatistics]:
    asked = pb.ModelStatisticsRequest(name=name, version=version)
    return list((await oip.stub.ModelStatistics(asked, metadata=oip.metadata)).model_stats)


async def test_statistics_count_what_ran_and_what_failed(oip: Oip) -> None:
    await oip.infer(request("sleeper", ("SECONDS", "FP32", [[0.01], [0.01]])))
    await oip.infer(double_request([1] * 4))
    await oip.refusal(oip.infer(double_request([-1] * 4)))
    engine = oip.host.named("double")
    await eventually(lambda: engine.reporter.statistics().batches == 2)
    (seen,) = await _statistics(oip, "double")
    assert (seen.name, seen.version, seen.inference_count, seen.execution_count) == ("double", "2", 1, 2)
    assert (seen.inference_stats.success.count, seen.inference_stats.fail.count) == (1, 1)
    assert seen.inference_stats.queue.count == 2
    assert seen.last_inference > 1_600_000_000_000
    (slow,) = await _statistics(oip, "sleeper")
    assert slow.inference_count == 2
    assert slow.inference_stats.compute_infer.ns >= 20_000_000
    assert sum(one.batch_size * one.compute_infer.count for one in slow.batch_stats) == 2
    assert slow.inference_stats.success.ns >= slow.inference_stats.compute_infer.ns


async def test_statistics_of_all_models_or_of_one_version(oip: Oip) -> None:
    await oip.host.load("double", "1")
    assert {(one.name, one.version) for one in await _statistics(oip, "double")} == {("double", "1"), ("double", "2")}
    assert [one.version for one in await _statistics(oip, "double", "1")] == ["1"]
    names = {one.name for one in await _statistics(oip, "")}
    assert {"double", "sleeper", "wordless"} <= names
    for name, version in (("nobody", ""), ("double", "9")):
        asked = pb.ModelStatisticsRequest(name=name, version=version)
        assert type(await oip.refusal(oip.stub.ModelStatistics(asked, metadata=oip.metadata))) is NotFound


async def _index(oip: Oip, *, ready: bool = False) -> dict[tuple[str, str], str]:
    asked = pb.RepositoryIndexRequest(ready=ready)
    answer = await oip.stub.RepositoryIndex(asked, metadata=oip.metadata)
    return {(one.name, one.version): one.state for one in answer.models}


async def _load(oip: Oip, name: str, **parameters: Any) -> None:
    asked = pb.RepositoryModelLoadRequest(model_name=name)
    for key, value in parameters.items():
        asked.parameters[key].string_param = value
    await oip.stub.RepositoryModelLoad(asked, metadata=oip.metadata)


async def _unload(oip: Oip, name: str, **parameters: str) -> None:
    asked = pb.RepositoryModelUnloadRequest(model_name=name)
    asked.parameters["unload_dependents"].bool_param = False  # as the stock client always sends it
    for key, value in parameters.items():
        asked.parameters[key].string_param = value
    await oip.stub.RepositoryModelUnload(asked, metadata=oip.metadata)


async def test_models_come_and_go(oip: Oip) -> None:
    index = await _index(oip)
    assert (index["double", "2"], index["double", "1"]) == ("READY", "UNAVAILABLE")
    assert ("double", "1") not in await _index(oip, ready=True)
    await _load(oip, "double", version="1")
    assert (await _index(oip, ready=True))["double", "1"] == "READY"
    await _unload(oip, "double", version="2")
    assert (await oip.infer(double_request([1] * 4))).model_version == "1"
    await _unload(oip, "double")
    error = await oip.refusal(oip.infer(double_request([1] * 4)))
    assert type(error) is Unavailable
    assert error.message.startswith("Request for unknown model: 'double' has no available versions")
    await _load(oip, "double")
    assert (await oip.infer(double_request([1] * 4))).model_version == "2"


async def test_a_model_that_cannot_be_loaded_says_why_and_what_runs_goes_on() -> None:
    broken = False

    def make(_: Runtime) -> TensorModel:
        if broken:
            raise WeightsError("the weights are gone")
        return double()

    async with serve(Given({Listing("double", "1"): make})) as oip:
        broken = True
        error = await oip.refusal(_load(oip, "double"))
        assert type(error) is FailedPrecondition
        assert "the weights are gone" in error.message
        assert (await oip.infer(double_request([1] * 4))).model_version == "1"


async def test_a_model_is_reloaded_with_other_tensors_under_its_version() -> None:
    made: list[TensorModel] = []

    def make(_: Runtime) -> TensorModel:
        model = double() if not made else make_sleeper()
        model.card = double().card
        made.append(model)
        return model

    async with serve(Given({Listing("double", "1"): make})) as oip:
        assert (await oip.infer(double_request([1] * 4))).outputs[0].name == "Y"
        await _load(oip, "double")
        answer = await oip.infer(request("double", ("SECONDS", "FP32", [[0.0]])))
        assert answer.outputs[0].name == "SLEPT"


@pytest.mark.parametrize(
    ("asked", "kind", "complaint"),
    [
        (pb.RepositoryModelLoadRequest(model_name="nobody"), NotFound, "there is no model nobody"),
        (pb.RepositoryModelLoadRequest(), InvalidArgument, "names no model"),
        (pb.RepositoryModelLoadRequest(model_name="double", repository_name="x"), Unimplemented, "repository_name"),
        (
            pb.RepositoryModelLoadRequest(
                model_name="double", parameters={"config": pb.ModelRepositoryParameter(string_param="{}")}
            ),
            Unimplemented,
            "'config'",
        ),
        (
            pb.RepositoryModelLoadRequest(
                model_name="double", parameters={"file:1/model.onnx": pb.ModelRepositoryParameter(bytes_param=b"")}
            ),
            Unimplemented,
            "file:1/model.onnx",
        ),
        (
            pb.RepositoryModelLoadRequest(
                model_name="double", parameters={"wish": pb.ModelRepositoryParameter(bool_param=True)}
            ),
            InvalidArgument,
            "unrecognized parameter 'wish'",
        ),
        (pb.RepositoryModelUnloadRequest(model_name="nobody"), NotFound, "nobody"),
        (pb.RepositoryModelUnloadRequest(), InvalidArgument, "names no model"),
        (pb.RepositoryIndexRequest(repository_name="x"), Unimplemented, "repository_name"),
    ],
)
async def test_what_the_repository_does_not_do_is_refused(
    oip: Oip, asked: Any, kind: type[CandelaError], complaint: str
) -> None:
    method = getattr(oip.stub, type(asked).__name__.removesuffix("Request"))
    error = await oip.refusal(method(asked, metadata=oip.metadata))
    assert type(error) is kind
    assert complaint in error.message


async def test_shared_memory_is_not_mapped_and_says_so(oip: Oip) -> None:
    metadata = oip.metadata
    system = pb.SystemSharedMemoryRegisterRequest(name="mine", key="/mine", byte_size=64)
    cuda = pb.CudaSharedMemoryRegisterRequest(name="mine", raw_handle=b"x", byte_size=64)
    assert type(await oip.refusal(oip.stub.SystemSharedMemoryRegister(system, metadata=metadata))) is Unimplemented
    assert type(await oip.refusal(oip.stub.CudaSharedMemoryRegister(cuda, metadata=metadata))) is Unimplemented
    # What stock programs do first and last: both are true of a server without regions.
    status = await oip.stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(), metadata=metadata)
    assert not status.regions
    assert not (await oip.stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest(), metadata=metadata)).regions
    await oip.stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest(), metadata=metadata)
    await oip.stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest(), metadata=metadata)


async def test_settings_are_shown_and_not_changed(oip: Oip) -> None:
    metadata = oip.metadata
    traces = (await oip.stub.TraceSetting(pb.TraceSettingRequest(), metadata=metadata)).settings
    assert list(traces["trace_mode"].value) == ["opentelemetry"]
    assert list(traces["trace_rate"].value) == ["1"]
    logs = (await oip.stub.LogSettings(pb.LogSettingsRequest(), metadata=metadata)).settings
    assert logs["log_info"].bool_param
    assert logs["log_verbose_level"].uint32_param == 0
    change = pb.TraceSettingRequest(settings={"trace_rate": pb.TraceSettingRequest.SettingValue(value=["9"])})
    error = await oip.refusal(oip.stub.TraceSetting(change, metadata=metadata))
    assert type(error) is Unimplemented
    assert "CANDELA_TRACE_SAMPLING_RATIO" in error.message
    quiet = pb.LogSettingsRequest(settings={"log_info": pb.LogSettingsRequest.SettingValue(bool_param=False)})
    assert type(await oip.refusal(oip.stub.LogSettings(quiet, metadata=metadata))) is Unimplemented
    unknown = pb.TraceSettingRequest(model_name="nobody")
    assert type(await oip.refusal(oip.stub.TraceSetting(unknown, metadata=metadata))) is NotFound


async def test_codecs_go_with_their_engines_and_not_before() -> None:
    shared = double()

    def make(_: Runtime) -> TensorModel:
        model = double()
        model.card = shared.card  # as with models whose card is a constant of their class
        return model

    async with serve(Given({Listing("double", "1"): make})) as oip:
        await oip.infer(double_request([1] * 4))
        await _load(oip, "double")
        await oip.infer(double_request([1] * 4))
        await oip.host.settled()
        gc.collect()
        assert codecs.codec_for(shared.card).card is shared.card
        assert (await oip.infer(double_request([1] * 4))).model_version == "1"
    del oip
    gc.collect()
    with pytest.raises(KeyError):
        codecs.codec_for(shared.card)
