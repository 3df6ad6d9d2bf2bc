"""The settings of the inference server as its environment gives them."""

import pytest
from pydantic import ValidationError

from inference_server.models.catalogue import CATALOGUE
from inference_server.models.device import Device
from inference_server.settings import InferenceSettings


def test_all_models_on_the_cpu_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CANDELA_INFERENCE_MODELS", raising=False)
    settings = InferenceSettings()
    assert settings.models == tuple(CATALOGUE)
    assert settings.runtime.device is Device.CPU
    assert settings.runtime.cores >= 1
    assert settings.runtimes == [settings.runtime]
    assert settings.address.endswith(":8092")


def test_models_are_loaded_on_every_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_DEVICE", "cuda")
    monkeypatch.setenv("CANDELA_INFERENCE_DEVICES", "2")
    assert [(one.device, one.index) for one in InferenceSettings().runtimes] == [(Device.CUDA, 0), (Device.CUDA, 1)]


def test_an_empty_list_means_no_models_and_other_empty_variables_mean_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_INFERENCE_MODELS", "")
    monkeypatch.setenv("CANDELA_PORT_BASE", "")
    monkeypatch.setenv("CANDELA_DEVICE", "")
    settings = InferenceSettings()
    assert settings.models == ()
    assert settings.port_base == 8080
    assert settings.device is Device.CPU


def test_tenants_have_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    assert InferenceSettings().weights == {}
    monkeypatch.setenv("CANDELA_INFERENCE_WEIGHTS", "acme=3, default/u1=0.5,")
    assert InferenceSettings().weights == {"acme": 3.0, "default/u1": 0.5}


def test_models_are_named_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_INFERENCE_MODELS", " ppocr-rec, ppocr-rec,,")
    assert InferenceSettings().models == ("ppocr-rec",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CANDELA_INFERENCE_MODELS", "ppocr-det,yolo"),
        ("CANDELA_DEVICE", "tpu"),
        ("CANDELA_INFERENCE_QUEUE_ITEMS", "10"),
        ("CANDELA_INFERENCE_WEIGHTS", "acme"),
        ("CANDELA_INFERENCE_WEIGHTS", "acme=much"),
        ("CANDELA_INFERENCE_WEIGHTS", "=3"),
        ("CANDELA_INFERENCE_WEIGHTS", "acme=0"),
        ("CANDELA_INFERENCE_WEIGHTS", "acme=nan"),
    ],
)
def test_wrong_values_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        InferenceSettings()
