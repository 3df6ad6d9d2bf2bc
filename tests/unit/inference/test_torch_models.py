"""Networks in PyTorch behind the model protocol: strict weights, the same answers in any batch, on any device."""

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from inference_server.models.device import Device, Runtime
from inference_server.models.repository import Repository
from inference_server.models.weights import WeightsError
from services.kit.errors import InvalidArgument
from tests.support.binaries import requires_package
from tests.support.model_folder import write_model

pytestmark = requires_package("torch")

TINY_DETECTOR = {"size": "n", "side": 64, "classes": 3}


def small_conv(seed: int = 1) -> Any:
    from inference_server.training.random_weights import drawn  # noqa: PLC0415 - torch may not be here

    return drawn("small-conv", seed=seed)


def safetensors_of(module: Any, **changes: Any) -> bytes:
    """Returns a network's tensors, with some put in place of others; None leaves one out."""
    from safetensors.torch import save  # noqa: PLC0415 - torch may not be here

    tensors = {**module.state_dict(), **{name.replace("__", "."): value for name, value in changes.items()}}
    data: bytes = save({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None})
    return data


def created(root: Path, name: str, runtime: Runtime) -> Any:
    return Repository(root).create(name, "", runtime)


def model_in(root: Path, runtime: Runtime, name: str = "conv", **options: Any) -> Any:
    """Returns the loaded small network with random weights."""
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    write_drawn(root, "small-conv", options, name)
    model = created(root, name, runtime)
    model.load()
    return model


def test_its_answers_are_those_of_the_network(tmp_path: Path, runtime: Runtime) -> None:
    import torch  # noqa: PLC0415 - torch may not be here

    module = small_conv()
    write_model(tmp_path, "conv", "1", {"model.safetensors": safetensors_of(module)}, architecture="small-conv")
    model = created(tmp_path, "conv", runtime)
    assert model.card.identity == "conv@1"
    assert model.card.platform == "pytorch"
    model.load()
    model.warm_up()
    samples = model.samples()
    with torch.inference_mode():
        expected = module(torch.from_numpy(np.stack([sample["pictures"] for sample in samples]))).numpy()
    results = model.run(samples)
    tolerance = 1e-4 if runtime.on_cpu else 2e-2  # CUDA's convolutions may use TF32
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(model.signature.arrays(result)["scores"], wanted, rtol=tolerance, atol=tolerance)
    model.close()


@pytest.mark.parametrize("size", [1, 2, 7, 24])
def test_an_answer_does_not_depend_on_the_batch(tmp_path: Path, runtime: Runtime, size: int) -> None:
    model = model_in(tmp_path, runtime)
    samples = model.samples()
    alone = [model.run([sample])[0]["scores"] for sample in samples]
    assert not np.allclose(alone[0], alone[1]), "equal answers would show nothing"
    together = model.run([samples[index % len(samples)] for index in range(size)])
    assert len(together) == size
    for index, result in enumerate(together):
        np.testing.assert_allclose(result["scores"], alone[index % len(samples)], rtol=1e-3, atol=1e-3)


def test_instances_on_several_threads_do_not_disturb_each_other(tmp_path: Path, runtime: Runtime) -> None:
    model = model_in(tmp_path, runtime)
    samples = model.samples()
    expected = [result["scores"] for result in model.run(samples)]
    wrong: list[str] = []

    def instance() -> None:
        for _ in range(5):
            for result, wanted in zip(model.run(samples), expected, strict=True):
                if not np.allclose(result["scores"], wanted, rtol=1e-3, atol=1e-3):
                    wrong.append("an answer changed")

    threads = [threading.Thread(target=instance) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_each_instance_takes_its_share_of_the_cores(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - torch may not be here

    model = model_in(tmp_path, Runtime(threads=4))
    assert model.card.instances == 4
    seen: list[int] = []

    def instance() -> None:
        model.run(model.samples())
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=instance)
    thread.start()
    thread.join()
    assert seen == [1]


def test_items_that_do_not_fit_are_refused(tmp_path: Path, runtime: Runtime) -> None:
    model = model_in(tmp_path, runtime)
    for wrong in (np.zeros((3, 96, 95), np.float32), np.zeros((3, 96, 96), np.uint8)):
        with pytest.raises(InvalidArgument):
            model.signature.item({"pictures": wrong})


def test_pictures_that_are_read_only_or_turned_around_are_taken(tmp_path: Path, runtime: Runtime) -> None:
    model = model_in(tmp_path, runtime)
    picture = model.samples()[0]["pictures"]
    turned = np.asfortranarray(picture)
    read_only = np.frombuffer(picture.tobytes(), np.float32).reshape(3, 96, 96)
    plain, *others = (model.run([{"pictures": one}])[0]["scores"] for one in (picture, turned, read_only))
    for other in others:
        np.testing.assert_array_equal(plain, other)


# --- weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores__bias": None}, r"the file lacks scores\.bias"),
        ({"scores__more": "scores.bias"}, r"does not know: scores\.more"),
        ({"scores__bias": "scores.weight"}, r"in another shape scores\.bias"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, runtime: Runtime, changes: Mapping[str, str | None], message: str
) -> None:
    module = small_conv()
    put = {name: None if source is None else module.state_dict()[source].clone() for name, source in changes.items()}
    write_model(tmp_path, "conv", "1", {"model.safetensors": safetensors_of(module, **put)}, architecture="small-conv")
    with pytest.raises(WeightsError, match=message):
        created(tmp_path, "conv", runtime).load()


def test_whole_numbers_are_no_weights(tmp_path: Path, runtime: Runtime) -> None:
    module = small_conv()
    data = safetensors_of(module, scores__bias=module.scores.bias.detach().long())
    write_model(tmp_path, "conv", "1", {"model.safetensors": data}, architecture="small-conv")
    with pytest.raises(WeightsError, match=r"another kind of number scores\.bias"):
        created(tmp_path, "conv", runtime).load()


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_weights_in_half_the_width_are_widened(tmp_path: Path, runtime: Runtime, half: str) -> None:
    import torch  # noqa: PLC0415 - torch may not be here

    module = small_conv()
    narrow = {name.replace(".", "__"): value.to(getattr(torch, half)) for name, value in module.state_dict().items()}
    data = safetensors_of(module, **narrow)
    write_model(tmp_path, "conv", "1", {"model.safetensors": data}, architecture="small-conv")
    model = created(tmp_path, "conv", runtime)
    model.load()
    sample = model.samples()[0]
    module.load_state_dict(
        {name: value.to(getattr(torch, half)).float() for name, value in module.state_dict().items()}
    )
    with torch.inference_mode():
        expected = module(torch.from_numpy(sample["pictures"][None]))[0].numpy()
    np.testing.assert_allclose(model.run([sample])[0]["scores"], expected, rtol=2e-2, atol=2e-2)


def test_weights_from_gguf(tmp_path: Path, runtime: Runtime) -> None:
    module = small_conv()
    writer = gguf.GGUFWriter(tmp_path / "w.gguf", "small-conv")
    for name, tensor in module.state_dict().items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_model(tmp_path, "g", "1", {"model.gguf": (tmp_path / "w.gguf").read_bytes()}, architecture="small-conv")
    write_model(tmp_path, "s", "1", {"model.safetensors": safetensors_of(module)}, architecture="small-conv")
    models = [created(tmp_path, name, runtime) for name in ("g", "s")]
    for model in models:
        model.load()
    sample = models[0].samples()[0]
    first, second = (model.run([sample])[0]["scores"] for model in models)
    np.testing.assert_array_equal(first, second)


def test_a_seed_gives_one_file(tmp_path: Path) -> None:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    first, second = (write_drawn(tmp_path, "small-conv", None, name) for name in ("a", "b"))
    assert first == second


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({}, "architecture is ''; there are small-conv"),
        ({"architecture": "resnet"}, "architecture is 'resnet'"),
        ({"architecture": "small-conv", "options": {"width": 0}}, "width"),
        ({"architecture": "small-conv", "options": {"depth": 1}}, "width"),
        ({"architecture": "yolo11-detector", "options": {"size": ["n"]}}, "size"),
        ({"architecture": "yolo11-detector", "options": {"side": 100}}, "multiple of 32"),
        ({"architecture": "yolo11-detector", "options": {"classes": 0}}, "classes"),
        ({"architecture": "crnn-reader", "options": {"width": 30}}, "multiple of 4"),
        ({"architecture": "crnn-reader", "options": {"classes": 1}}, "classes"),
        ({"architecture": "small-conv", "platform": "onnxruntime_onnx"}, "pytorch"),
        ({"architecture": "small-conv", "max_batch": 0}, "max_batch 0"),
        ({"architecture": "small-conv", "samples": [{"pictures": [3, 64, 64]}]}, "samples give pictures"),
    ],
)
def test_a_manifest_that_means_nothing_is_refused(tmp_path: Path, manifest: Mapping[str, Any], message: str) -> None:
    write_model(tmp_path, "conv", "1", {"model.safetensors": b""}, **manifest)
    with pytest.raises(WeightsError, match=message):
        created(tmp_path, "conv", Runtime())


def test_a_device_that_is_not_there_is_no_reason_to_use_another(tmp_path: Path) -> None:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    write_drawn(tmp_path, "small-conv")
    model = created(tmp_path, "small-conv", Runtime(Device.CUDA, index=63))
    with pytest.raises(WeightsError, match="no CUDA device 63"):
        model.load()


# --- the detector


def test_the_detector_has_the_published_numbers_of_weights() -> None:
    import torch  # noqa: PLC0415 - torch may not be here

    from inference_server.models.torch_backend.registry import architecture  # noqa: PLC0415 - as above

    published = {"n": 2_624_080, "s": 9_458_752, "m": 20_114_688, "l": 25_372_160, "x": 56_966_176}
    for size, count in published.items():
        with torch.device("meta"):
            module = architecture("yolo11-detector", {"size": size}).build()
        # The published ones count the numbers 0 to 15, with which distances are weighed.
        assert sum(weights.numel() for weights in module.parameters()) + 16 == count, size


def test_the_detector_gives_boxes_in_order_of_their_scores(tmp_path: Path, runtime: Runtime) -> None:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    write_drawn(tmp_path, "yolo11-detector", TINY_DETECTOR)
    model = created(tmp_path, "yolo11-detector", runtime)
    model.load()
    samples = model.samples()
    results = model.run(samples)
    for spec in model.signature.outputs:
        assert results[0][spec.name].shape == spec.shape
    scores, classes = results[0]["scores"], results[0]["classes"]
    places = sum((64 // stride) ** 2 for stride in (8, 16, 32))
    assert (np.diff(scores[:places]) <= 0).all()
    assert (scores[places:] == 0).all()
    assert len(np.unique(scores[:places])) > places // 2, "an untrained network still tells places apart"
    assert set(classes.tolist()) <= {0, 1, 2}
    left, top, right, bottom = results[0]["boxes"][:places].T
    assert (left < right).all()
    assert (top < bottom).all()


def test_a_dense_detector_gives_every_place_in_any_company(tmp_path: Path, runtime: Runtime) -> None:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    write_drawn(tmp_path, "yolo11-detector", {**TINY_DETECTOR, "dense": True})
    model = created(tmp_path, "yolo11-detector", runtime)
    model.load()
    samples = model.samples()
    for sample, together in zip(samples, model.run(samples), strict=True):
        alone = model.run([sample])[0]
        for spec in model.signature.outputs:
            assert together[spec.name].shape == spec.shape
            np.testing.assert_allclose(together[spec.name], alone[spec.name], rtol=1e-2, atol=1e-2)


def test_folding_normalisations_changes_no_answer() -> None:
    import torch  # noqa: PLC0415 - torch may not be here

    from inference_server.models.torch_backend.detector_blocks import ConvUnit, folded  # noqa: PLC0415 - as above
    from inference_server.training.random_weights import drawn  # noqa: PLC0415 - as above

    module: Any = drawn("yolo11-detector", TINY_DETECTOR)
    for unit in module.modules():
        if isinstance(unit, ConvUnit):
            unit.norm.running_mean.uniform_(-0.1, 0.1)
            unit.norm.running_var.uniform_(0.5, 2)
    pictures = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = module(pictures)
        after = folded(module)(pictures)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in module.modules())
    torch.testing.assert_close(before[1], after[1], rtol=1e-3, atol=1e-4)


# --- the reader


def test_the_reader_gives_probabilities_for_each_column(tmp_path: Path, runtime: Runtime) -> None:
    from inference_server.training.random_weights import write_drawn  # noqa: PLC0415 - torch may not be here

    write_drawn(tmp_path, "crnn-reader", {"width": 64, "classes": 11})
    model = created(tmp_path, "crnn-reader", runtime)
    model.load()
    samples = model.samples()
    together = [result["scores"] for result in model.run(samples)]
    for sample, scores in zip(samples, together, strict=True):
        assert scores.shape == model.signature.outputs[0].shape == (15, 11)
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-4)
        np.testing.assert_allclose(model.run([sample])[0]["scores"], scores, rtol=1e-2, atol=1e-3)
    assert not np.allclose(together[0], together[1])


# --- what a server without such models pays


def test_a_server_without_such_models_does_not_import_torch() -> None:
    program = "import sys, inference_server.main, inference_server.models.repository; print('torch' in sys.modules)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
