"""The report of speed and the budget: what stands in them, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import measure, promises, record, report
from benchmarks.measure import Spread
from benchmarks.promises import Promise
from benchmarks.stages import training
from tests.benchmarks import small

KEPT = Promise("reading, over a copy", True, 1.5, Spread.of([1.2]), "x")
MISSED = Promise(
    "reading, faster than the bug", False, 100, Spread.of([40.0, 60.0]), "x", Spread.of([80.0]), "copying", "Tried: tea."
)


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Workloads that take microseconds, and no corpora."""
    for module in (report, record, promises):
        patch.setattr(module, "TABLE", small.table())
    patch.setattr(measure.gc, "collect", lambda: 0)  # before each call it would take nearly all of the time
    one, two = Spread.of([1.0]), Spread.of([1.0, 9.0])
    patch.setattr(report, "growth", lambda sizes: {"open": {100: two, 1_000: one}, "stream": {100: one, 1_000: two}})
    patch.setattr(report, "memory", lambda names, scale: dict.fromkeys(names, (500, 400)))


def promise(patch: pytest.MonkeyPatch, *promises: Promise) -> None:
    patch.setattr(report, "measured", lambda scale, say: iter(promises))


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the small table, one promise of which is not kept."""
    base = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        promise(patch, KEPT, MISSED)
        assert report.main(["--scale", "small", "--output-dir", str(base)]) == 0
    (made,) = base.iterdir()
    return made


# The report


def test_a_report_is_text_numbers_and_vector_figures(folder: Path) -> None:
    stages = {one.stage for one in small.table().values()}
    assert folder.name.endswith("-speed")
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "results.json",
        "growth.svg",
        "memory.svg",
        *(f"{stage}.svg" for stage in stages),
    }
    for path in folder.glob("*.svg"):
        assert path.read_text().rstrip().endswith("</svg>")
        assert f"({path.name})" in (folder / "README.md").read_text()


def test_the_numbers_of_a_report_come_with_versions_machine_commit_and_command(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    text = (folder / "README.md").read_text()
    assert results["command"] == "python -m benchmarks.report --scale small"
    assert f"`{results['command']}`, at commit {results['commit'][:12]}" in text
    assert f"{results['machine']['processor']}, {results['machine']['cores']} cores" in text
    assert all(f"{name} {version}" in text for name, version in results["versions"].items() if name != "code")


def test_every_workload_of_the_scale_is_in_the_report_with_rounds_median_and_spread(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    text = (folder / "README.md").read_text()
    assert [one["workload"] for one in results["records"]] == list(small.table())
    for one in results["records"]:
        assert one["fast"]["low"] <= one["fast"]["median"] <= one["fast"]["high"]
        assert one["fast"]["rounds"] == 7
        assert f"| {one['workload']} | lora_perf | {Spread(**one['fast']).text()} | 1 |" in text
        assert set(one["baselines"]) == ({"torch.tensor", "with_format-torch", "DataLoader"} if one["limit"] else set())


def test_a_promise_that_is_not_kept_is_explained_and_one_that_is_kept_is_not(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert MISSED.explanation == (
        "reading, faster than the bug: 50.0 (45.0 to 55.0, 2 rounds) x, promised at least 100 x. "
        "Copying alone would allow 80.0 x. Tried: tea."
    )
    assert KEPT.explanation == ""
    assert f"- {MISSED.explanation}" in text.split("### Not kept")[1]
    assert text.count("reading, over a copy") == 1
    assert "| at least 100 x | 50.0 (45.0 to 55.0, 2 rounds) x | **no** |" in text
    assert [one["kept"] for one in json.loads((folder / "results.json").read_text())["promises"]] == [True, False]


@pytest.mark.parametrize(
    ("value", "at_most", "kept"), [(1, True, True), (1, False, True), (2, True, False), (0.5, False, False)]
)
def test_a_bound_itself_keeps_a_promise(value: float, at_most: bool, kept: bool) -> None:
    assert Promise("it", at_most, 1, Spread.of([value]), "x").kept is kept


# The command line


@pytest.mark.parametrize(("promises", "status"), [([KEPT], 0), ([KEPT, MISSED], 1)])
def test_the_budget_ends_with_1_where_a_promise_is_not_kept(
    promises: list[Promise], status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promise(monkeypatch, *promises)
    assert report.main(["--budget", "--output-dir", str(tmp_path / "none")]) == status
    assert not (tmp_path / "none").exists()
    out = capsys.readouterr().out
    assert ("Tried: tea." in out) == (status == 1)
    assert ("NOT KEPT" in out) == (status == 1)


def test_a_folder_that_cannot_be_made_is_one_line_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: Any) -> Iterator[Promise]:
        raise AssertionError("it measured")

    monkeypatch.setattr(report, "measured", never)
    (tmp_path / "file").write_text("")
    assert report.main(["--output-dir", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: expected a folder that can be made")
    assert error.count("\n") == 1


# The budget


def test_a_speed_up_and_what_the_limit_would_allow_are_of_the_same_rounds(table: None, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {
        "before": [2.0, 1.0],
        "slow": [3.0, 4.0],
        "between": [9.0, 1.0],
        "limit": [1.0, 0.5],
        "after": [1.0, 0.1],
    }
    monkeypatch.setattr(measure, "in_turn", lambda calls, **_: {name: times[name] for name in calls})
    found = promises._speed_up("it", "train_ten_runs", "DataLoader", "small", 4, "Adam")
    assert found.measured == Spread.of([6.0, 16.0])  # medians of three calls; the baseline does a quarter of the work
    assert found.allowed == Spread.of([12.0, 32.0])


@pytest.mark.parametrize("wrong", [small.case(found=2), small.case(slow=2)])
def test_no_promise_is_measured_on_a_wrong_result(wrong: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = small.table()["load_nested"]
    monkeypatch.setattr(promises, "TABLE", {"made": type(one)("made", "loading", ("small",), lambda _: wrong)})
    with pytest.raises(AssertionError, match="2 instead of 1"):
        promises._speed_up("it", "made", "torch.tensor", "small", 4, "a copy")


def test_the_least_work_of_training_has_every_batch_of_every_run_and_leaves_the_threads_as_they_were() -> None:
    import torch

    threads = torch.get_num_threads()
    assert training.products_and_adam(3, 130, (7, 5, 2), epochs=2) == 3 * 3 * 2
    assert torch.get_num_threads() == threads


def test_the_least_work_of_training_multiplies_as_often_as_training_does() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    f, h, c, rows = 7, 5, 2, 130
    weights = h * f + 2 * h * h + c * h
    with FlopCounterMode(display=False) as counter:
        training._least_run(0, rows, (f, h, c), 1)
    assert counter.get_total_flops() == rows * (6 * weights - 2 * h * f)
