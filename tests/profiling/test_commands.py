"""`--trace DIR` of the commands: the files, the stages in them, and nothing where a command is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lora_perf.audit.__main__ import main as audit
from lora_perf.diagnose.__main__ import main as diagnose
from lora_perf.experiment.__main__ import main as experiment
from lora_perf.inspect.__main__ import main as inspect

CELLS = ["--representations", "stats", "--layer-groups", "all", "--classifiers", "ridge"]
COMMANDS: list[tuple[str, Callable[[list[str]], int], list[str], set[str]]] = [
    (
        "experiment",
        experiment,
        ["--dataset", "digits", *CELLS],
        {"load", "represent", "cell stats on all, ridge", "probe", "score"},
    ),
    ("inspect", inspect, ["digits"], {"open", "read", "compare"}),
    ("diagnose", diagnose, ["digits", "--budget", "0.5"], {"lora_perf: zoo.rows"}),
    ("audit", audit, ["digits", "--representations", "stats"], {"load", "represent", "audit stats"}),
]


@pytest.mark.parametrize(("name", "main", "words", "stages"), COMMANDS, ids=[name for name, *_ in COMMANDS])
def test_a_command_leaves_a_trace_of_its_stages_where_it_is_told_to(
    name: str,
    main: Callable[[list[str]], int],
    words: list[str],
    stages: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lora_perf.report.files.draw", lambda *_: [])
    assert main([*words, "--trace", "traces"]) == 0
    (file,) = Path("traces").glob(f"{name}.*.pt.trace.json")
    (page,) = Path("traces").glob(f"{name}.*.html")
    events = json.loads(file.read_text())["traceEvents"]
    assert stages | {name} <= {one["name"] for one in events if one.get("cat") == "user_annotation"}
    assert any(str(one.get("name")).startswith("aten::") for one in events)
    assert all(stage in page.read_text() for stage in stages)
    assert f"trace written to traces: {page.name} (any browser), {file.name} (Perfetto, TensorBoard)" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "main", "words", "stages"), COMMANDS, ids=[name for name, *_ in COMMANDS])
def test_a_command_that_is_refused_leaves_nothing(
    name: str,
    main: Callable[[list[str]], int],
    words: list[str],
    stages: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = ["nothing here" if word == "digits" else word for word in words]
    assert main([*wrong, "--trace", "traces"]) == 2
    Path("file").write_text("")
    assert main([*words, "--trace", "file"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "nothing here" in first
    assert "a folder that can be written" in second
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
