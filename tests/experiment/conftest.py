"""A small zoo on disk and the experiment on it, shared by the tests of the experiment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_perf import Zoo, report
from lora_perf.core.layout import Layout
from lora_perf.experiment.__main__ import main
from lora_perf.io import store

PREFIX = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
QUICK = ["--num-runs", "2", "--epochs", "3", "--representations", "stats", "ensemble", "flat_vec", "--hidden-dim", "16"]
QUICK += ["--controls", "--permutations", "3"]  # controls where a test asks for them


def small_zoo(*, n: int = 60, changed: bool = False) -> Zoo:
    """60 adapters of three classes, whose scale tells the class; four modules."""
    shapes = []
    for kind in ("attn1", "attn2"):
        for projection in ("to_q", "to_v"):
            shapes += [
                (f"{PREFIX}.{kind}.{projection}.lora.down.weight", (1, 12)),
                (f"{PREFIX}.{kind}.{projection}.lora.up.weight", (8, 1)),
            ]
    layout = Layout(shapes)
    labels = torch.arange(n) % 3
    rows = torch.randn((n, layout.p), generator=torch.Generator().manual_seed(0)) * (1 + labels[:, None])
    if changed:
        rows.view(torch.int32)[n // 2, 7] ^= 1
    return Zoo.from_rows(rows, layout, labels, ["a", "b", "c"], name="small")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    store.write(small_zoo(), path)
    return path


@pytest.fixture
def experiment(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs the command line on the small zoo with further arguments; returns results.json. Figures take the longest part."""

    def run(*arguments: str, status: int = 0, figures: bool = False) -> dict[str, Any]:
        if not figures:
            monkeypatch.setattr(report.files, "draw", lambda *_: [])
        assert main(["--dataset", str(small), "--output-dir", str(tmp_path / "out"), *QUICK, *arguments]) == status
        results: dict[str, Any] = json.loads((tmp_path / "out" / "results.json").read_text())
        return results

    return run
