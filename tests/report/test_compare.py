"""Experiments side by side: paired where they were tested alike, Welch's test elsewhere, and runs put together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import lora_perf
from lora_perf import LoraPerfError, Results
from lora_perf.report.__main__ import main
from lora_perf.report.compare import compared, html_page, merged
from lora_perf.report.comparisons import holm
from tests.report.test_page_figures import whole

SETTINGS = {"layer_groups": ["all"], "num_runs": 2, "epochs": 3, "hidden_dim": 16, "controls": [], "permutations": 0}


@pytest.fixture(scope="module")
def first() -> Results:
    return lora_perf.experiment.run("digits", representations=["stats", "dw_norms"], classifiers=["mlp", "ridge"], **SETTINGS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def wider() -> Results:
    settings = SETTINGS | {"hidden_dim": 32}
    return lora_perf.experiment.run("digits", representations=["stats"], classifiers=["mlp", "ridge"], **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def elsewhere() -> Results:
    return lora_perf.experiment.run("digits-shared", representations=["stats"], classifiers=["ridge"], **SETTINGS)  # type: ignore[arg-type]


def test_the_same_test_adapters_are_compared_one_by_one(first: Results, wider: Results) -> None:
    found = compared({"a": first, "b": wider})
    assert list(found.scores) == [("stats", "all", "mlp"), ("stats", "all", "ridge")]
    assert found.settings == {"representations": ["['stats', 'dw_norms']", "['stats']"], "hidden_dim": ["16", "32"]}
    beside = found.beside[("stats", "all", "mlp"), 1]
    gains = [each.gains(each.cell("stats", "all", "mlp")) for each in (wider, first)]  # type: ignore[arg-type]
    assert beside.paired
    assert beside.difference.mean == pytest.approx(np.mean(gains[0]) - np.mean(gains[1]))
    same = found.beside[("stats", "all", "ridge"), 1]
    assert (same.difference.mean, same.difference.p) == (0, 1)
    assert [each.holm for each in found.beside.values()] == holm([each.difference.p for each in found.beside.values()])
    lines, across = found.lines()
    assert across == "hidden_dim"
    assert [[x for x, _ in line.points] for line in lines] == [[16, 32], [16, 32]]


def test_other_test_adapters_are_independent(first: Results, elsewhere: Results) -> None:
    found = compared({"here": first, "there": elsewhere})
    (beside,) = found.beside.values()
    assert not beside.paired
    right = [each.gains(each.cell("stats", "all", "ridge"))[0].astype(float) for each in (elsewhere, first)]  # type: ignore[arg-type]
    wanted = stats.ttest_ind(*right, equal_var=False)
    assert beside.difference.p == pytest.approx(wanted.pvalue)
    assert beside.difference.df == pytest.approx(wanted.df)
    interval = wanted.confidence_interval()
    assert (beside.difference.low, beside.difference.high) == pytest.approx((interval.low, interval.high))
    assert "Welch" in " ".join(found.notes())


def test_runs_of_other_seeds_become_those_of_one_experiment(first: Results) -> None:
    settings = SETTINGS | {"representations": ["stats"], "classifiers": ["mlp", "ridge"]}
    parts = {str(seed): lora_perf.experiment.run("digits", seed=seed, **settings) for seed in (42, 44)}  # type: ignore[arg-type]
    whole = lora_perf.experiment.run("digits", **settings | {"num_runs": 4})  # type: ignore[arg-type]
    found = merged(parts)
    for classifier in ("mlp", "ridge"):
        one, other = (each.cell("stats", "all", classifier) for each in (found, whole))
        assert one is not None
        assert other is not None
        assert [run.predictions for run in one.runs] == [run.predictions for run in other.runs]
    assert found.config["num_runs"] == 4
    with pytest.raises(LoraPerfError, match="seeds that differ"):
        merged({"a": parts["42"], "b": parts["42"]})
    with pytest.raises(LoraPerfError, match="in their seeds alone"):
        merged({"a": parts["42"], "b": first})


def test_what_cannot_be_compared_is_refused(first: Results) -> None:
    with pytest.raises(LoraPerfError, match="at least two output folders"):
        compared({"a": first})
    other = replace(first, cells=[replace(one, representation="other") for one in first.cells])
    with pytest.raises(LoraPerfError, match="none in common"):
        compared({"a": first, "b": other})


def test_the_command_writes_a_page_and_a_table(
    first: Results, wider: Results, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, one in (("<b>narrow", first), ("wide", wider)):
        (tmp_path / name).mkdir()
        one.save(tmp_path / name)
    out = tmp_path / "out"
    assert main([str(tmp_path / "<b>narrow"), str(tmp_path / "wide"), "--output-dir", str(out)]) == 0
    page = (out / "comparison.html").read_text()
    assert "<b>narrow" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "hidden_dim" in (out / "comparison.md").read_text()
    assert page == html_page(
        compared({"<b>narrow": Results.load(tmp_path / "<b>narrow"), "wide": Results.load(tmp_path / "wide")})
    )
    for arguments, telling in (
        ([str(tmp_path / "wide")], "at least two output folders"),
        ([str(tmp_path / "wide"), str(tmp_path / "nowhere")], "results.json"),
        ([str(tmp_path / "wide"), str(tmp_path / "<b>narrow"), "--merge"], "in their seeds alone"),
    ):
        capsys.readouterr()
        assert main(arguments) == 2
        assert telling in " ".join(capsys.readouterr().err.split())


def test_the_page_draws_differences_and_scores_beside_each_other(first: Results, elsewhere: Results) -> None:
    bad = "<script>x"
    page = html_page(compared({"a": first, bad: elsewhere}))
    whole(page.partition("<script>")[0])
    score, other = (one.accuracy("stats", "all", "ridge").mean for one in (first, elsewhere))  # type: ignore[union-attr]
    assert f"{other - score:.3f}</text></g>" in page
    assert page.count("<svg") == 2
    (told,) = re.findall(r"<title>(stats, all, ridge: [^<]*)</title>", page)
    assert told.startswith(f"stats, all, ridge: {score:.3f} [")
    assert "&lt;script&gt;x" in told
