"""Corpora of their own for the tests: they depend on nobody's cache, and leave none behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def corpora_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("corpora")
        patch.setenv("LORA_PERF_CORPORA", str(folder))
        yield folder
