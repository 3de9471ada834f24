"""Traces: the file, the table of operators, and bad names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import trace
from benchmarks.table import Case, Workload, accept


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of one workload of a dozen operators, at one scale."""

    def call() -> None:
        x = torch.ones(8, 8)
        for operator in (
            torch.sin,
            torch.cos,
            torch.exp,
            torch.abs,
            torch.sqrt,
            torch.tanh,
            torch.floor,
            torch.ceil,
            torch.sign,
        ):
            operator(x)
        x.mm(x).cumsum(0).softmax(1).argmax(0)

    monkeypatch.setattr(trace, "TABLE", {"made": Workload("made", "loading", ("small",), lambda _: Case(call, accept, 1))})


def test_a_trace_is_a_file_of_operators_a_page_and_their_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace.main(["made", "--output-dir", str(tmp_path)]) == 0
    (file,) = (tmp_path / "made").glob("small.*.pt.trace.json")
    (page,) = (tmp_path / "made").glob("small.*.html")
    names = [one.get("name", "") for one in json.loads(file.read_text())["traceEvents"]]
    assert {"aten::mm", "aten::cumsum", "aten::sin"} <= set(names)
    out = capsys.readouterr().out
    for told in (out, page.read_text()):
        assert {"aten::mm", "aten::cumsum", "aten::sin"} <= set(told.replace("<", " ").replace(">", " ").split())
    assert f"tensorboard --logdir {tmp_path}" in out


def test_an_unknown_workload_or_scale_is_one_line_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in ((["mode"], "a workload (made)"), (["made", "--scale", "large"], "a scale of made (small)")):
        assert trace.main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
