"""Values that stay where they are: whatever is asked of them is what a tensor of the same columns gives."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core import matrix, stored
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features, Part
from lora_perf.core.layout import Layout
from lora_perf.core.rows import ArrayRows, FloatRows, RowSource, chosen
from lora_perf.core.stored import StoredValues, chosen_columns
from lora_perf.core.zoo import Zoo


class Counted(RowSource):
    """Rows elsewhere, and how many of them were read."""

    def __init__(self, rows: FloatRows) -> None:
        self.n, self.p = rows.shape
        self.rows, self.read_rows = rows, 0

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        self.read_rows += stop - start
        np.copyto(out, self.rows[start:stop])


@st.composite
def matrices(draw: st.DrawFn) -> tuple[StoredValues, torch.Tensor]:
    """Some columns of a source of some kind, and the same as a tensor."""
    n, p = draw(st.integers(1, 9)), draw(st.integers(1, 8))
    rows = np.random.default_rng(n * p).standard_normal((n, p), np.float32)
    cuts = sorted(draw(st.sets(st.integers(0, p), min_size=2, max_size=6)))
    ranges = [slice(a, b) for a, b in itertools.pairwise(cuts)][:: draw(st.sampled_from([1, 2]))]
    source: RowSource = draw(st.sampled_from([ArrayRows, Counted]))(rows)
    if draw(st.booleans()):
        some = np.array(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=6)))
        source, rows = chosen(source, some), rows[some]
    return StoredValues(source, ranges), torch.from_numpy(np.concatenate([rows[:, one] for one in ranges], axis=1))


@given(matrices(), st.data())
def test_rows_columns_and_blocks_are_those_of_the_tensor(pair: tuple[StoredValues, torch.Tensor], data: st.DataObject) -> None:
    values, tensor = pair
    n, f = tensor.shape
    assert values.shape == tensor.shape
    assert len(values) == n
    assert values.nbytes == tensor.nbytes
    rows = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=9)))
    assert torch.equal(values.index_select(0, rows), tensor[rows])
    columns = np.array(sorted(data.draw(st.sets(st.integers(0, f - 1), min_size=1))))
    assert torch.equal(values.index_select(1, torch.from_numpy(columns)), tensor[:, columns])
    assert torch.equal(values.select(columns).tensor(), tensor[:, columns])
    start = data.draw(st.integers(0, n))
    assert torch.equal(values[start:], tensor[start:])
    for where, block in values.blocks(4 * values.source.p * data.draw(st.integers(1, 4))):
        assert torch.equal(block, tensor[where])


def test_a_batch_reads_its_rows_and_no_others() -> None:
    source = Counted(np.random.default_rng(0).standard_normal((100, 7), np.float32))
    values = StoredValues(source, [slice(2, 5)])
    values.index_select(0, torch.tensor([5, 99, 0, 6]))
    assert source.read_rows == 4
    values.select(np.array([0, 2]))
    assert source.read_rows == 4, "a choice of columns reads nothing"


def test_what_does_not_fit_in_memory_is_no_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    values = StoredValues(Counted(np.ones((50, 4), np.float32)))
    monkeypatch.setattr(stored, "memory_left", lambda: 100)
    with pytest.raises(LoraPerfError, match=r"800 B of memory .* 100 B left"):
        values.tensor()


def test_rows_that_do_not_fit_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Counted(np.ones((50, 5), np.float32))
    zoo = Zoo(source, Layout([("a.lora.down.weight", (1, 2)), ("a.lora.up.weight", (3, 1))]))
    monkeypatch.setattr(matrix, "_ASKED", 0)
    monkeypatch.setattr(matrix, "memory_left", lambda: 100)
    with pytest.raises(LoraPerfError, match=r"memory for .* of rows.*zoo.save\(PATH\)"):
        _ = zoo.rows
    assert source.read_rows == 0


def test_columns_of_large_values_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.arange(20.0).view(5, 4)
    small = chosen_columns(whole, np.array([1, 3]))
    monkeypatch.setattr(stored, "STORED_NBYTES", 0)
    large = chosen_columns(whole, np.array([1, 3]))
    assert isinstance(small, torch.Tensor)
    assert isinstance(large, StoredValues)
    assert torch.equal(large.tensor(), small)
    whole[0, 1] = 7
    assert float(large.tensor()[0, 0]) == 7, "a view of the values"


def test_features_that_are_stored_are_used_as_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout([("a.lora.down.weight", (1, 2)), ("a.lora.up.weight", (3, 1))])
    rows = np.random.default_rng(0).standard_normal((6, 5), np.float32)
    parts = tuple(Part((k,), layer.name, tuple(map(str, range(layer.size)))) for k, layer in enumerate(layout))
    kept = Features(StoredValues(Counted(rows)), layout, parts)
    usual = Features(torch.from_numpy(rows), layout, parts)
    assert torch.equal(kept.values, usual.values)
    assert np.array_equal(np.asarray(kept), rows)
    assert torch.equal(kept[-1], usual[-1])
    assert torch.equal(kept[[4, 1]].values, usual[[4, 1]].values)
    assert torch.equal(kept.select(layout.layers[1:]).values, usual.select(layout.layers[1:]).values)
    assert kept.to_frame().equals(usual.to_frame())
    assert "read from their source" in repr(kept)


def test_flat_vec_of_a_packed_zoo_is_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lora_perf
    from lora_perf.representations import entries

    zoo = lora_perf.load("digits")
    path = zoo[:40].save(tmp_path / "some.safetensors")
    monkeypatch.setattr(entries, "STORED_NBYTES", 0)
    packed = lora_perf.load(path)
    for layers in ("all", "up"):
        features = lora_perf.represent(packed, ["flat_vec"], layers=layers)["flat_vec"]
        assert isinstance(features.matrix, StoredValues)
        expected = torch.cat([zoo.rows[:40, layer.columns] for layer in zoo.layout.group(layers)], dim=1)
        assert torch.equal(features.values, expected)
