"""The slow paths: each comes to the result of the fast one, its check refuses wrong ones, and nothing else uses them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import baselines
from benchmarks.baselines.representing import parts_of
from benchmarks.workloads import TABLE, Baseline
from tests.benchmarks.corruptors import refuses, wrong
from tests.conftest import MakeZoo
from tests.oracles import oracle

ROOT = Path(__file__).parents[2]
CASES = [(name, slow) for name, workload in TABLE.items() for slow in workload.baselines]

# scikit-learn gives the rows of a part in any order.
NOT_WRONG = {("split_stratified", "scikit-learn", way) for way in ("rows reversed", "rows moved by one")}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small kernels on several cores wait for each other, on a busy machine for most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def baseline(name: str, slow: str) -> Baseline:
    return TABLE[name].prepare("small").baselines[slow]


@pytest.mark.parametrize(("name", "slow"), CASES)
def test_a_baseline_has_the_result_of_the_fast_path_and_no_wrong_one_passes(name: str, slow: str) -> None:
    one = baseline(name, slow)
    result = one.call()
    one.check(result)
    if name.startswith("train_"):
        # Another stream of random numbers: only an accuracy that such a training does not reach is known to be wrong.
        candidates = [("untrained", 0.1 * result), ("a nan", np.nan * result), ("two runs", np.tile(result, 2))]
    else:
        candidates = list(wrong(result))
    for way, other in candidates:
        if (name, slow, way.rpartition(": ")[2]) not in NOT_WRONG:
            assert refuses(one.check, other), f"{slow} of {name} accepts a result with {way}"
    assert candidates


@pytest.mark.parametrize(("name", "slow"), CASES)
def test_the_share_of_a_baseline_is_a_share(name: str, slow: str) -> None:
    assert 0 < baseline(name, slow).share <= 1


@pytest.mark.parametrize("name", ["simple_stats", "spectral", "frequency", "info_theoretic", "ensemble", "flat_vec"])
def test_the_loop_follows_the_definitions_at_rank_two(name: str, random_zoo: MakeZoo) -> None:
    zoo = random_zoo(2)
    found = baselines.represent_by_loop(zoo, [name])[name]
    for row, values in zip(found, zoo.rows, strict=True):
        matrices = [values[layer.columns].view(layer.shape).numpy() for layer in zoo.layout]
        expected = [value for part in parts_of(name) for matrix in matrices for value in oracle(part, matrix).values()]
        torch.testing.assert_close(row.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6)


def test_the_loop_survives_a_matrix_of_zeros(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(1)
    zoo.rows[:] = 0
    names = ["simple_stats", "rank_based", "spectral", "matrix_norms", "frequency", "info_theoretic"]
    assert all(torch.equal(one, torch.zeros_like(one)) for one in baselines.represent_by_loop(zoo, names).values())


def test_a_copy_is_of_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((7, 5), np.float32)
    fresh = baselines.copy_fresh(rows)
    np.testing.assert_array_equal(fresh, rows)
    assert not np.shares_memory(fresh, rows)
    warm = np.zeros((3, 5), np.float32)
    assert baselines.copy_blocks(rows, warm) == 7
    np.testing.assert_array_equal(warm[:1], rows[6:])
    assert baselines.write_bytes(rows, tmp_path / "copy").read_bytes() == rows.tobytes()


def imports(path: Path) -> set[str]:
    """Modules and names that a file imports, with dots."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_only_the_workloads_use_the_baselines() -> None:
    files = [*ROOT.glob("lora_perf/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    users = {
        file.relative_to(ROOT).parts[:2]
        for file in files
        if any(one.startswith("benchmarks.baselines") for one in imports(file))
    }
    assert users == {("benchmarks", "baselines"), ("benchmarks", "stages")}


def test_the_loops_use_no_line_of_the_representations() -> None:
    for file in ROOT.glob("benchmarks/baselines/*.py"):
        used = {one for one in imports(file) if one.startswith("lora_perf")}
        assert used <= {"lora_perf"}, file
        assert "lora_perf." not in file.read_text().replace("lora_perf.Zoo", "").replace("lora_perf.representations`", "")
