from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import FloatRows, RowSource, Zoo
from lora_perf.io.store import write
from tests.io.packed.files import MakeZoo


class BrokenRows(RowSource):
    """Rows of which the second block cannot be read."""

    def __init__(self, error: BaseException) -> None:
        self.n, self.p = 1000, 26_000
        self.error = error

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        if start:
            raise self.error
        out.fill(1)


def broken_zoo(error: BaseException) -> Zoo:
    layout = Layout([("a.lora.down.weight", (1, 26_000))])
    return Zoo(BrokenRows(error), layout, torch.zeros(1000, dtype=torch.int64), ["cat"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")], ids=["interrupt", "error"])
def test_an_interrupted_write_leaves_nothing_but_the_old_file(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "zoo.safetensors"
    for old in (None, b"old"):
        if old:
            path.write_bytes(old)
        with pytest.raises(type(error)):
            write(broken_zoo(error), path)
        assert [file.read_bytes() for file in tmp_path.iterdir()] == ([old] if old else [])


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_refused(random_zoo: MakeZoo, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LoraPerfError, match=r"a folder that can be written for .*found Permission denied"):
        write(random_zoo(), tmp_path / "zoo.safetensors")


def test_a_disk_without_room_is_reported(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(100, [("a.lora.down.weight", (10, 100))])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(LoraPerfError, match=r"zoo\.safetensors; found File too large"):
            write(zoo, tmp_path / "zoo.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_memory_of_writing_and_streaming_does_not_grow_with_the_zoo(run_python: Callable[..., str], tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from lora_perf.core.layout import (Layout)
from lora_perf.io.store import (open_packed, write)
from lora_perf.core.zoo import (RowSource, Zoo)

class Counted(RowSource):
    def __init__(self, n, p):
        self.n, self.p = n, p
    def read(self, start, stop, out):
        out[:] = np.arange(start, stop, dtype=np.float32)[:, None]

path = Path(sys.argv[1])
layout = Layout([("a.lora.down.weight", (1, 100_000))])
for n in (100, 700):  # 40 and 280 MB
    write(Zoo(Counted(n, layout.p), layout, torch.zeros(n), ["cat"]), path)
    assert sum(block[:, 0].sum().item() for _, block in open_packed(path).blocks()) == n * (n - 1) / 2
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""
    small, large = map(int, run_python(program, tmp_path / "zoo.safetensors").split())
    assert large - small < 20_000_000
