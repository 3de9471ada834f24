"""The campaign's oracle agrees with the program on what nobody touched, and a short campaign finds no fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lora_perf
from tests.campaign.forms import COUNT, FORMS, Form
from tests.io.adapters import found_updates

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("form", [one for one in FORMS if one.name != "packed file"], ids=lambda one: one.name)
def test_the_oracle_reads_what_the_program_reads(form: Form, tmp_path: Path) -> None:
    path = tmp_path / ("data.feather" if form.is_file else "data")
    form.write(path)
    rows = form.read(path)
    zoo = lora_perf.load(path)
    assert len(rows) == len(zoo) == COUNT
    for i, row in enumerate(rows):
        assert row.label == zoo.classes[int(zoo.labels[i])]
        found = found_updates(zoo, i)
        update = np.concatenate([found[name].flatten().numpy() for name in sorted(found)])
        np.testing.assert_allclose(update, row.update, rtol=1e-6, atol=1e-9)


@pytest.mark.long
def test_a_short_campaign_finds_no_fault() -> None:
    program = [sys.executable, "-m", "tests.campaign", "--quick"]
    done = subprocess.run(program, cwd=_ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
