"""Where models compute in tests: what CANDELA_DEVICE names, as for the server, so that a GPU runs the same tests."""

import os
from typing import Final

from inference_server.models.device import Device, Runtime

RUNTIME: Final = Runtime(Device(os.environ.get("CANDELA_DEVICE") or "cpu"), threads=2)
