"""What the tests of models share: the device, which CANDELA_DEVICE names as it does for the server."""

import os

import pytest

from inference_server.models.device import Device, Runtime


@pytest.fixture
def runtime() -> Runtime:
    """Where models compute in these tests: on two CPU threads, or on CUDA with CANDELA_DEVICE=cuda."""
    return Runtime(Device(os.environ.get("CANDELA_DEVICE") or "cpu"), threads=2)
