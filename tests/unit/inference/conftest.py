"""What the tests of models share: the device."""

import pytest

from inference_server.models.device import Runtime
from tests.support.device import RUNTIME


@pytest.fixture
def runtime() -> Runtime:
    """Where models compute in these tests: on two CPU threads, or on CUDA with CANDELA_DEVICE=cuda."""
    return RUNTIME
