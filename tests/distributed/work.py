"""What workers are asked to do by these tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lora_perf.core.errors import LoraPerfError
from lora_perf.distributed import Shared


def square(number: int, folder: Path) -> int:
    """The square; the first process that is asked for that of 3 dies."""
    died = folder / "died"
    if number == 3 and not died.exists():
        died.touch()
        os._exit(1)
    return number**2


def die(number: int) -> int:
    os._exit(number)


def refuse(number: int) -> int:
    raise LoraPerfError(expected="an even number", found=str(number), fix="choose another")


def checked(agreed: Shared) -> int:
    agreed.check()
    return os.getpid()


def wait(folder: Path) -> None:
    (folder / f"pid-{os.getpid()}").touch()
    time.sleep(60)
