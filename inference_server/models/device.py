"""Where models compute, and how many cores they may keep busy."""

import os
from dataclasses import dataclass
from enum import StrEnum


class Device(StrEnum):
    """Where models compute."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class Runtime:
    """The device, the CPU cores that the models may keep busy (0: every core this process may use), and which of
    several devices of the kind it is.
    """

    device: Device = Device.CPU
    threads: int = 0
    index: int = 0

    @property
    def on_cpu(self) -> bool:
        return self.device is Device.CPU

    @property
    def cores(self) -> int:
        return self.threads or len(os.sched_getaffinity(0))
