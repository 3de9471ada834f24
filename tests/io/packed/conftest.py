from __future__ import annotations

from pathlib import Path

import pytest

from lora_perf.io.store import write
from tests.io.packed.files import MakeZoo, with_tables


@pytest.fixture
def packed(random_zoo: MakeZoo, tmp_path: Path) -> Path:
    """A packed zoo of seven adapters with a split."""
    path = tmp_path / "zoo.safetensors"
    write(random_zoo(split=True), path)
    return path


@pytest.fixture
def complete(random_zoo: MakeZoo, tmp_path: Path) -> Path:
    """A packed zoo of seven adapters with a split, scales and ranks."""
    path = tmp_path / "complete.safetensors"
    write(with_tables(random_zoo()), path)
    return path
