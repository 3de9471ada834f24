"""Adapters that hold a NaN or infinity: named by their files, and left out where one asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo
from lora_perf.io.finite import without_non_finite
from tests.io.adapters import BLOCK, factors, save, tensors, zoo_folder
from tests.io.checks import refuses
from tests.io.tables import forms as tables

UP = f"{BLOCK}.attn1.to_q.lora.up.weight"


def spoil(path: Path, value: float, dtype: torch.dtype = torch.float32) -> None:
    content = {name: tensor.to(dtype) for name, tensor in tensors(factors(8)).items()}
    content[UP][0, 1] = value
    save(path, content)


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "NaN"), (float("-inf"), "infinite")])
def test_an_adapter_that_is_not_finite_is_named_by_its_file(value: float, kind: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    spoil(tmp_path / "cat" / "diverged.safetensors", value)
    with pytest.raises(
        LoraPerfError,
        match=rf"1 of 16 entries {kind} in adapter 2 \(cat/diverged\.safetensors\), layer {UP}; leave .*--skip-bad",
    ):
        lora_perf.represent(lora_perf.load(tmp_path), ["dw_norms"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_adapters_that_are_not_finite_are_left_out_where_one_asks(dtype: torch.dtype, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    clean = lora_perf.load(tmp_path)
    for name in ("cat/1a", "cat/9", "dog/0"):
        spoil(tmp_path / f"{name}.safetensors", float("nan"), dtype)
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert [(one.path, one.reason) for one in zoo.skipped] == [
        (f"{name}.safetensors", f"1 of 16 entries NaN in layer {UP}") for name in ("cat/1a", "cat/9", "dog/0")
    ]
    assert zoo.names == clean.names
    assert (zoo.labels == clean.labels).all()
    assert (zoo.rows == clean.rows).all()
    assert torch.cat([block.clone() for _, block in zoo.blocks(nbytes=4 * zoo.layout.p * 3)]).equal(clean.rows)


def test_large_finite_entries_are_no_fault(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    content = {name: torch.full_like(tensor, 3e38) for name, tensor in tensors(factors(8)).items()}
    save(tmp_path / "cat" / "large.safetensors", content)
    assert len(lora_perf.load(tmp_path, skip_bad=True)) == 5


def test_a_class_that_lost_all_its_adapters_is_no_class(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    spoil(tmp_path / "bird" / "0.safetensors", float("inf"))
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert (zoo.classes, zoo.labels.tolist()) == (["cat", "dog"], [0, 0, 1, 1])


def test_a_folder_without_a_finite_adapter_is_refused(tmp_path: Path) -> None:
    spoil(tmp_path / "cat" / "0.safetensors", float("inf"))
    refuses(tmp_path, r"at least one adapter in .* of finite weights; found 1 .*cat/0\.safetensors", skip_bad=True)


def test_rows_of_tables_are_left_out_by_their_number(tmp_path: Path) -> None:
    table = tables.adapters(6)
    weights = [name for name in table.column_names if "lora" in name]
    values = table.column(weights[0]).to_pylist()
    values[4][0][0] = float("nan")
    at = table.column_names.index(weights[0])
    pq.write_table(table.set_column(at, weights[0], pa.array(values, table.schema.field(at).type)), tmp_path / "zoo.parquet")
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert [one.path for one in zoo.skipped] == ["adapter 4"]
    expected = np.delete(tables.python_rows(tables.adapters(6)), 4, axis=0)
    tables.assert_rows(zoo, expected)


def test_splits_scales_and_ranks_follow_their_adapters() -> None:
    layout = Layout([("a.lora.down.weight", (2, 3)), ("a.lora.up.weight", (4, 2))])
    rows = torch.ones(4, layout.p)
    rows[1, 3] = float("nan")
    scales, ranks = torch.tensor([[1.0], [2.0], [3.0], [float("inf")]]), torch.tensor([[1], [2], [1], [2]])
    zoo = Zoo.from_rows(
        rows, layout, torch.tensor([0, 1, 1, 0]), ["a", "b"], split=torch.tensor([0, 0, 2, 1]), scales=scales, ranks=ranks
    )
    left = without_non_finite(zoo)
    assert [one.reason.split(" in ")[0] for one in left.skipped] == ["1 of 6 entries NaN", "a scale that is NaN or infinite"]
    assert left.labels.tolist() == [0, 1]
    assert (left.split.tolist(), left.scales.tolist(), left.ranks.tolist()) == ([0, 2], [[1.0], [3.0]], [[1], [1]])


def test_a_zoo_that_is_open_already_is_looked_through_too() -> None:
    rows = torch.ones(4, 18)
    rows[2, 3] = float("nan")
    zoo = Zoo.from_rows(rows, Layout([("a.lora.down.weight", (2, 5)), ("a.lora.up.weight", (4, 2))]))
    assert lora_perf.load(zoo) is zoo
    assert lora_perf.load(zoo, skip_bad=True).names == ["row 0", "row 1", "row 3"]
