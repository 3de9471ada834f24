"""report.html: what it says first is so, it needs no network, names mean nothing to it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

import lora_perf
from lora_perf.experiment.__main__ import main
from lora_perf.report.comparisons import drops, pairs, ranks
from lora_perf.report.findings import findings
from lora_perf.report.page import command, html_page


@pytest.fixture(scope="module")
def results() -> lora_perf.Results:
    return lora_perf.experiment.run(
        "digits",
        representations=["stats", "matrix_norms", "info_theoretic"],
        layer_groups=["all", "up"],
        classifiers=["mlp", "ridge"],
        num_runs=2,
        epochs=3,
        hidden_dim=16,
    )


def test_the_first_sentences_are_the_numbers(results: lora_perf.Results) -> None:
    best = max(
        (results.accuracy(r, "all", c).mean, r, c)  # type: ignore[union-attr]
        for r in results.representations
        for c in results.classifiers
    )
    told = findings(results, pairs(results, best[2]), list(drops(results).values()))
    assert told[0].startswith(f"{best[1]} read by {best[2]} reads most on all: accuracy {best[0]:.3f} [")
    found = pairs(results, best[2])
    assert f"Of the 3 pairs of representations {sum(one.differs for one in found)} differ" in told[1]
    assert len(drops(results)) == 6
    assert told[-1].startswith("Of the 6 drops from all ")


def test_pairs_are_corrected_together_and_the_better_one_comes_first(results: lora_perf.Results) -> None:
    found = pairs(results, "ridge")
    assert len(found) == 3
    assert all(one.difference.mean >= 0 for one in found)
    assert min(one.holm for one in found) == pytest.approx(min(1, 3 * min(one.difference.p for one in found)))


def test_ranks_are_means_over_adapters(results: lora_perf.Results) -> None:
    found = ranks(results, "mlp")
    assert found is not None
    means, critical = found
    right = [results.gains(results.cell(name, "all", "mlp")).mean(axis=0) for name in means]  # type: ignore[arg-type]
    assert list(means.values()) == pytest.approx(rankdata(-np.array(right), axis=0).mean(axis=1).tolist())
    # Demsar (2006), table 5: q of three at .05 is 2.343.
    assert critical == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 200)), rel=1e-3)


def test_the_page_needs_no_network(results: lora_perf.Results) -> None:
    page = results.to_html()
    assert not re.search(r"(src|href)=|https?://|@import|url\(", page)
    drawn = {"accuracy": 2, "drops": 2, "waterfalls": 3, "kept": 2, "classes": 1, "ranks": 2, "costs": 3, "map": 1}
    drawn |= {"confusion": 1, "learning": 2, "learning of the others": 5}
    assert page.count("<svg") == sum(drawn.values())
    assert page == html_page(results)


def test_names_mean_nothing_to_the_page(results: lora_perf.Results) -> None:
    from dataclasses import replace

    page = replace(
        results, dataset=results.dataset | {"name": "<b>x", "classes": ["<i>"] * 10}, adapters=["<u>a"] * 200
    ).to_html()
    assert not re.search(r"<(b|i|u)>", page)


def test_the_command_of_the_page_makes_the_results_again(results: lora_perf.Results) -> None:
    words = command(results).split()
    assert words[:4] == ["lora-perf", "run", "--dataset", "digits"]
    assert words[words.index("--classifiers") + 1 :][:2] == ["mlp", "ridge"]


def test_a_single_cell_has_a_page(tmp_path: Path) -> None:
    options = [
        "--dataset",
        "digits",
        "--representations",
        "stats",
        "--classifiers",
        "ridge",
        "--layer-groups",
        "all",
        "--controls",
    ]
    assert main([*options, "--output-dir", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "stats read by ridge reads most on all" in page
    assert "A single one." in page
