"""The campaign itself: its oracle agrees with the program on what nobody touched, and it finds faults that are planted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lora_perf
from tests.campaign.forms import COUNT, FORMS, Form
from tests.campaign.moments import Moment
from tests.campaign.outcomes import Ended, Fault, Outcome
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


@pytest.mark.parametrize(
    ("status", "err", "outcome"),
    [
        (None, "", Outcome.HANG),
        (1, "Traceback (most recent call last):\nKeyError: 1\n", Outcome.TRACEBACK),
        (0, "Exception ignored in: <stdout>\n", Outcome.TRACEBACK),
        (-signal.SIGSEGV, "", Outcome.CRASH),
        (1, "", Outcome.STATUS),
        (2, "", Outcome.LINES),
        (2, "error: one\nand another\n", Outcome.LINES),
        (130, "", Outcome.LINES),
    ],
)
def test_an_end_that_is_not_right_is_a_fault(status: int | None, err: str, outcome: Outcome) -> None:
    with pytest.raises(Fault) as fault:
        Ended(status, "", err).check(0, 2, 130)
    assert fault.value.outcome is outcome
    assert outcome.is_fault


def test_one_line_of_an_error_beside_warnings_is_right() -> None:
    assert Ended(2, "", "WARNING: odd\nerror: expected a; found b; do c\n").check(0, 2) == 2


def test_a_process_ends_at_the_same_file_event_again(tmp_path: Path) -> None:
    """Of three files that it makes, the third is not there, whenever it is run."""
    for _ in range(2):
        pid = os.fork()
        if not pid:
            Moment(str(tmp_path), signal.SIGKILL, 3)
            for i in range(3):
                (tmp_path / f"{i}").write_bytes(b"")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def _campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "tests.campaign", *arguments]
    return subprocess.run(program, cwd=_ROOT, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.long
def test_a_short_campaign_finds_no_fault() -> None:
    done = _campaign("--quick")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_every_planted_fault_is_found() -> None:
    done = _campaign("--planted")
    assert done.returncode == 0, done.stdout + done.stderr
