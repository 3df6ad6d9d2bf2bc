"""The steps before a process starts: database migrations and generated configuration, each its own short process."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from supervisor.logs import ProcessLog
from supervisor.process import Child, describe_exit
from supervisor.specs import Step

_TIMEOUT_SECONDS = 120.0


class StepFailedError(Exception):
    """A step before the start failed; the message says how, `tail` is what it printed last."""

    def __init__(self, message: str, tail: list[str]) -> None:
        super().__init__(message)
        self.tail = tail


async def run_step(step: Step, env: Mapping[str, str], cwd: Path, log: ProcessLog) -> None:
    """Run a step. Raises StepFailedError when the command fails or takes longer than two minutes."""
    child = await Child.spawn(step.argv, env, cwd, log)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            status = await child.wait()
    except TimeoutError:
        raise StepFailedError(f"{step.label}: not done within {_TIMEOUT_SECONDS:.0f} s", log.tail()) from None
    finally:
        child.kill()
    if status != 0:
        raise StepFailedError(f"{step.label}: {describe_exit(status)}", log.tail())
