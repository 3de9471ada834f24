"""A folder whose name and classes hold what a terminal, a page or a figure would take for its own, on an ASCII terminal."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from lora_perf.experiment.__main__ import main
from tests.experiment.conftest import PREFIX

CLASSES = ("[red]", "\u732b:smile:", os.fsdecode(b"caf\xe9"), "=1+1", "a\x1b[31m\nb", "{} %s $x$")


def test_an_experiment_on_odd_names_is_whole_on_an_ascii_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "da$ta [red]^\n=x\u732b"
    generator = torch.Generator().manual_seed(0)
    for label in CLASSES:
        (tmp_path / name / label).mkdir(parents=True)
        for i in range(4):
            factors = {side: torch.randn(shape, generator=generator) for side, shape in (("down", (1, 6)), ("up", (4, 1)))}
            content = save({f"{PREFIX}.attn1.to_q.lora.{side}.weight": factors[side] for side in factors})
            (tmp_path / name / label / f"{i}.safetensors").write_bytes(content)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", newline="", write_through=True))
    out = tmp_path / "out"
    flags = ["--representations", "stats", "--layer-groups", "all", "--classifiers", "knn", "--output-dir", str(out)]
    assert main(["--dataset", str(tmp_path / name), *flags]) == 0
    shown = raw.getvalue().decode("ascii")
    assert "da$ta [red]^\\n=x\\u732b: 24 adapters, 6 classes" in shown
    assert "\x1b" not in shown
    stored = json.loads((out / "results.json").read_text())["dataset"]
    assert stored["name"] == name
    assert len(set(stored["classes"])) == len(CLASSES)
    assert (out / "summary.md").read_text().startswith("# Ablation of da\\$ta \\[red\\]^\\\\n=x\u732b\n")
    assert "\x1b" not in (out / "experiment.log").read_text()
    assert (out / "accuracy.svg").exists()
