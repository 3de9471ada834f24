"""Questions beside the table of groups: single modules, fewer adapters, another zoo; from the command to the page and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.core.split import Split, make_split
from lora_perf.experiment.__main__ import main
from lora_perf.experiment.layers import folds_of, further_groups, further_names, modules_of
from lora_perf.experiment.sizes import DRAWS, of_size
from lora_perf.io import store
from lora_perf.report.parts import layers_of, ranking
from lora_perf.report.sizes import size_curves
from lora_perf.report.transfer import transferred
from tests.experiment.conftest import small_zoo

N = 240
PROBED = ("--classifiers", "ridge", "--layer-groups", "all", "visual")


def telling_zoo(seed: int = 0, *, classes: tuple[str, ...] = ("a", "b", "c"), n: int = N) -> Zoo:
    """Adapters whose second module tells the class by the size of its weights, the third a little, the others nothing."""
    plain = small_zoo(n=n)
    rows = torch.randn((n, plain.layout.p), generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(n) % len(classes)
    for module, strength in ((1, 1.0), (2, 0.15)):
        for layer in (plain.layout.modules[module].up, plain.layout.modules[module].down):
            rows[:, layer.columns] *= 1 + strength * labels[:, None]
    metadata = {"creator": [f"c{k % 40}" for k in range(n)], "size": (labels + rows[:, 0].abs() / 9).tolist()}
    return Zoo.from_rows(rows, plain.layout, labels, classes, name=f"telling{seed}", metadata=metadata)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return telling_zoo().save(tmp_path_factory.mktemp("telling") / "telling.safetensors")


@pytest.fixture
def asked(path: Path, tmp_path: Path) -> Callable[..., lora_perf.Results]:
    """The results of a command on the zoo, read back."""

    def run(*arguments: str) -> lora_perf.Results:
        common = [
            "--dataset",
            str(path),
            "--num-runs",
            "2",
            "--epochs",
            "20",
            "--representations",
            "matrix_norms",
            "--controls",
        ]
        settings = ["--hidden-dim", "16", "--layer-groups", "all", "--output-dir", str(tmp_path / "out")]
        assert main([*common, *settings, *arguments]) == 0
        return lora_perf.Results.load(tmp_path / "out")

    return run


Asked = Callable[..., lora_perf.Results]


def test_modules_are_ranked_without_the_test_adapters(asked: Asked, path: Path, tmp_path: Path) -> None:
    found = asked("--layers", "each", "--classifiers", "knn", "ridge")
    modules = [module.name for module in lora_perf.load(path).layout.modules]
    test = set(found.tested[""].rows)
    folds = [found.tested[name] for name in found.divisions("fold")]
    assert len(folds) == 5
    tested = [row for fold in folds for row in fold.rows]
    assert len(tested) == len(set(tested)) == found.tested[""].learned
    assert test.isdisjoint(tested)
    for classifier in ("knn", "ridge"):
        order = ranking(found, "matrix_norms", classifier)
        assert order[0].name == modules[1]
        by_hand = []
        for name in found.divisions("fold"):
            cell = found.cell("matrix_norms", f"module {modules[1]}", classifier, division=name)
            assert cell is not None
            by_hand.append(len(found.tested[name].rows) * np.mean([run.accuracy for run in cell.runs]))
        assert order[0].crossed.mean == pytest.approx(sum(by_hand) / len(tested))
    one = layers_of(found)[0]
    assert [kept.count for kept in one.kept] == [1, 2, 3]
    assert one.kept[0].best.mean == found.accuracy("matrix_norms", f"module {modules[1]}", "knn").mean  # type: ignore[union-attr]
    assert one.kept[0].best.mean > 0.7 > 0.5 > one.kept[0].without.mean
    assert found.groups == ("all",)
    assert [cell.group for cell in found.first] == ["all", "all"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Which layers" in page
    assert "so many modules" in (tmp_path / "out" / "summary.md").read_text()
    again = found.to_json()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "results.json").write_text(json.dumps(again))
    assert lora_perf.Results.load(tmp_path / "copy").to_json() == again


def test_the_runs_of_a_cell_are_dealt_among_the_folds(asked: Asked) -> None:
    found = asked("--layers", "each", "--num-runs", "10", "--epochs", "1")
    assert {len(cell.runs) for cell in found.cells if cell.division.startswith("fold")} == {2}
    assert {len(cell.runs) for cell in found.cells if not cell.division} == {10}


def test_cells_of_ranked_modules_are_taken_from_the_output_folder(asked: Asked, tmp_path: Path) -> None:
    first = asked("--layers", "each", "--classifiers", "ridge").to_json()["cells"]
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "cells").iterdir()}
    assert len(times) == len(first) == 1 + 4 * 6 + len(further_names(4))
    again = asked("--layers", "each", "--classifiers", "ridge").to_json()["cells"]
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in times} == times


@given(counts=st.lists(st.integers(6, 40), min_size=2, max_size=5), seed=st.integers(0, 99), share=st.floats(0.05, 0.95))
def test_choices_of_a_seed_are_nested_and_have_classes_in_their_shares(counts: list[int], seed: int, share: float) -> None:
    labels = torch.cat([torch.full((count,), c) for c, count in enumerate(counts)])
    split = make_split(labels, [str(c) for c in range(len(counts))], seed=seed)
    count = len(split.train)
    size = max(2, min(count - 1, round(share * count)))
    small, large = (of_size(split, labels, each, seed) for each in (size, min(count - 1, size + 3)))
    assert len(small.train) == size
    assert set(small.train.tolist()) <= set(large.train.tolist()) <= set(split.train.tolist())
    assert set(small.validation.tolist()) <= set(split.validation.tolist())
    assert len(small.validation) == max(1, round(size * len(split.validation) / count))
    assert torch.equal(small.test, split.test)
    for c in range(len(counts)):
        wanted = size * int((labels[split.train] == c).sum()) / count
        assert abs(int((labels[small.train] == c).sum()) - wanted) <= len(counts)
    assert torch.equal(of_size(split, labels, size, seed).train, small.train)


def test_accuracy_grows_with_the_adapters_that_are_learned_from(asked: Asked, tmp_path: Path) -> None:
    found = asked("--train-sizes", "12", "40", "--classifiers", "ridge")
    assert [found.tested[name].trained for name in found.divisions("size")] == [12] * DRAWS + [40] * DRAWS
    assert len({tuple(found.tested[name].rows) for name in found.tested}) == 1
    curves = {one.classifier: one for one in size_curves(found)}
    points = curves["ridge"].points
    assert [size for size, _ in points] == [12, 40, found.dataset["train"]]
    assert points[0][1].mean < points[-1][1].mean == found.accuracy("matrix_norms", "all", "ridge").mean  # type: ignore[union-attr]
    draws = [found.cell("matrix_norms", "all", "ridge", division=name) for name in found.divisions("size")[:DRAWS]]
    assert points[0][1].mean == pytest.approx(np.mean([one.runs[0].accuracy for one in draws if one]))
    assert curves["ridge"].half == 40
    assert "How many adapters it takes" in (tmp_path / "out" / "report.html").read_text()


def test_another_zoo_is_tested_by_what_was_learned_here_and_there(path: Path, tmp_path: Path, asked: Asked) -> None:
    other = telling_zoo(5, classes=("c", "b", "d"))
    other.save(tmp_path / "other.safetensors")
    found = asked(
        "--test-dataset", str(tmp_path / "other.safetensors"), "--classifiers", "ridge", "--layer-groups", "all", "visual"
    )
    assert found.dataset["adapters"] == N
    assert found.dataset["transfer"] == {"name": "telling5", "left_out": N // 3, "unknown": ["d"]}
    beyond, there = found.tested["transfer"], found.tested["native"]
    assert list(beyond.rows) == list(there.rows)
    assert min(beyond.rows) >= N
    kept = [row for row in range(N) if int(other.required_labels[row]) != 2]
    names = [other.classes[int(other.required_labels[kept[row - N]])] for row in beyond.rows]
    assert [found.dataset["classes"][label] for label in beyond.truth.tolist()] == names
    rows = transferred(found)
    assert {one.group for one in rows} == {"all", "visual"}
    one = next(each for each in rows if each.group == "all")
    cell = found.cell("matrix_norms", "all", "ridge", division="transfer")
    assert cell is not None
    assert one.beyond.mean == pytest.approx(cell.runs[0].accuracy)
    assert one.loss is not None
    assert one.native is not None
    assert one.loss.mean == pytest.approx(one.native.mean - one.beyond.mean)
    alone = asked(*PROBED)
    for group in ("all", "visual"):
        assert alone.accuracy("matrix_norms", group, "ridge") == found.accuracy("matrix_norms", group, "ridge")
    for name in ("report.html", "summary.md"):
        kept_report = next((tmp_path / "out" / "earlier").glob(f"*/{name}")).read_text()
        assert "tested on telling5" in kept_report


def test_copies_of_what_was_learned_are_not_tested_in_the_other_zoo(path: Path, tmp_path: Path) -> None:
    one, other = telling_zoo(), telling_zoo(7)
    rows = other.rows.clone()
    rows[:20] = one.rows[:20]
    copied = Zoo.from_rows(rows, other.layout, other.labels, other.classes, name="copied")
    found = lora_perf.experiment.run(
        one, test_dataset=copied, representations=["matrix_norms"], layer_groups=["all"], classifiers=["ridge"], controls=[]
    )
    learned = set(range(N)) - set(found.tested[""].rows)
    assert {row + N for row in range(20) if row in learned}.isdisjoint(found.tested["transfer"].rows)
    assert {row + N for row in range(20)} & set(found.tested["transfer"].rows) <= {row + N for row in range(20)} - learned


def test_numbers_travel_too(path: Path, tmp_path: Path, asked: Asked) -> None:
    telling_zoo(5).save(tmp_path / "other.safetensors")
    found = asked("--test-dataset", str(tmp_path / "other.safetensors"), "--target", "size", "--classifiers", "ridge")
    (one,) = transferred(found)
    assert found.measure == "R2"
    assert one.beyond.mean > 0.3


def test_a_zoo_too_small_to_be_divided_is_tested_whole(asked: Asked, tmp_path: Path) -> None:
    telling_zoo(5, n=9).save(tmp_path / "other.safetensors")
    found = asked("--test-dataset", str(tmp_path / "other.safetensors"), "--classifiers", "ridge")
    assert len(found.tested["transfer"].rows) == 9
    assert "native" not in found.tested
    (one,) = transferred(found)
    assert one.native is one.loss is None


def test_groups_stay_whole_in_folds_and_draws(asked: Asked) -> None:
    found = asked("--layers", "each", "--group-column", "creator", "--classifiers", "ridge")
    for name in found.divisions("fold"):
        clusters = found.tested[name].clusters
        assert clusters is not None
        others = [found.tested[other].clusters for other in found.divisions("fold") if other != name]
        assert all(set(clusters.tolist()).isdisjoint(one.tolist()) for one in others if one is not None)
    assert ranking(found, "matrix_norms", "ridge")[0].crossed.df < 40


@given(st.integers(2, 12), st.integers(0, 99))
def test_further_groups_are_the_best_the_rest_and_others(count: int, seed: int) -> None:
    layers = tuple(small_zoo().layout.layers)
    modules = modules_of(layers)
    order = np.random.default_rng(seed).permutation(sorted(modules)).tolist()
    found = dict(further_groups(small_zoo().layout, modules, order, seed))
    assert sorted(found) == sorted(further_names(len(modules)))
    for kept in (1, 2, 3):
        best, rest = set(found[f"best {kept}"]), set(found[f"without {kept}"])
        assert best == {layer for name in order[:kept] for layer in modules[name]}
        assert best | rest == set(layers)
        assert best.isdisjoint(rest)
        assert len(found[f"drawn {kept}.1"]) == 2 * kept


def test_folds_of_few_groups_are_one_a_group() -> None:
    split = Split(torch.arange(0, 24), torch.arange(24, 30), torch.arange(30, 40), "grouped")
    labels, groups = torch.arange(40) % 2, torch.arange(40) // 8
    found = folds_of(split, labels, groups, 0)
    assert sorted(row for one in found for row in one.test.tolist()) == list(range(30))
    for one in found:
        parts = [set(groups[rows].tolist()) for rows in (one.train, one.validation, one.test)]
        assert parts[0].isdisjoint(parts[1] | parts[2])
        assert parts[1].isdisjoint(parts[2])


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["--train-sizes", "1"], "expected --train-sizes from 2 to"),
        (["--train-sizes", "5000"], "5,000"),
        (["--layers", "each", "--layer-groups", "attn1.to_q"], "several modules for --layers each"),
        (["--test-dataset", "digits"], "adapters of digits with a class of telling0"),
        (["--test-dataset", "no/where.safetensors"], "no/where.safetensors"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], telling: str
) -> None:
    words = ["--dataset", str(path), "--representations", "matrix_norms", "--output-dir", str(tmp_path / "out")]
    assert main([*words, *arguments]) == 2
    assert telling in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_zoo_of_other_classes_is_refused(path: Path, tmp_path: Path) -> None:
    store.write(telling_zoo(3, classes=("x", "y")), tmp_path / "other.safetensors")
    with pytest.raises(LoraPerfError, match=r"with a class of telling0 \(a, b, c\); found none; theirs are x, y"):
        lora_perf.experiment.run(path, test_dataset=tmp_path / "other.safetensors", representations=["matrix_norms"])


def test_python_takes_what_the_command_takes(path: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "representations": ["matrix_norms"],
        "layer_groups": ["all"],
        "classifiers": ["ridge"],
        "controls": [],
    }
    found = lora_perf.experiment.run(path, layers="each", train_sizes=[20], **settings)
    assert len(found.modules) == 4
    assert len(size_curves(found)) == 1
