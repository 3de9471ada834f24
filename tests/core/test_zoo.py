from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from lora_perf.core.digest import Hashed, new_hashes, row_hashes
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.layout import Layout
from lora_perf.core.zoo import ArrayRows, FloatRows, RowSource, Zoo

LAYOUT = Layout([("a.lora.down.weight", (2, 3)), ("a.lora.up.weight", (4, 2))])
CLASSES = ["bird", "cat", "dog"]
MakeZoo = Callable[..., Zoo]


class CopiedRows(RowSource):
    """Rows that are handed out as copies only, as a file would; remembers which were asked for."""

    def __init__(self, rows: FloatRows) -> None:
        self.n, self.p = rows.shape
        self.rows = rows
        self.reads: list[tuple[int, int]] = []

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        self.reads.append((start, stop))
        np.copyto(out, self.rows[start:stop])


def copied(zoo: Zoo) -> Zoo:
    """The same zoo read through a source that is not in memory."""
    return Zoo(CopiedRows(zoo.rows.numpy()), zoo.layout, zoo.labels, zoo.classes, split=zoo.split)


def zoo_of(
    rows: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    classes: list[str] = CLASSES,
    split: torch.Tensor | None = None,
) -> Zoo:
    rows = torch.arange(42.0).view(3, 14) if rows is None else rows
    labels = torch.tensor([0, 1, 2]) if labels is None else labels
    return Zoo.from_rows(rows, LAYOUT, labels, classes, split=split)


def test_a_layer_is_a_view_of_its_columns_and_a_module_its_up_and_its_down() -> None:
    zoo = zoo_of()
    down, up = (zoo.layer(f"a.lora.{side}.weight") for side in ("down", "up"))
    assert_close(down, zoo.rows[:, :6].reshape(3, 2, 3))
    assert_close(up, zoo.rows[:, 6:].reshape(3, 4, 2))
    assert up.untyped_storage().data_ptr() == zoo.rows.untyped_storage().data_ptr()
    assert_close(zoo.module("a"), (up, down))


@given(data=st.data(), n=st.integers(1, 5), seed=st.integers(0, 9))
def test_layers_of_any_shapes_tile_the_rows(random_zoo: MakeZoo, data: st.DataObject, n: int, seed: int) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
    zoo = random_zoo(n, [(f"m{i}.lora.down.weight", size) for i, size in enumerate(sizes)], seed=seed)
    layers = [zoo.layer(layer.name) for layer in zoo.layout]
    assert [tuple(layer.shape) for layer in layers] == [(n, *size) for size in sizes]
    assert_close(torch.cat([layer.flatten(1) for layer in layers], dim=1), zoo.rows, rtol=0, atol=0)


def test_a_module_that_is_not_there_with_both_sides_is_refused() -> None:
    with pytest.raises(LoraPerfError, match=r"a module with an up and a down \(a\); found 'b' with neither"):
        zoo_of().module("b")
    layout = Layout([("a.lora.down.weight", (1, 2))])
    with pytest.raises(LoraPerfError, match=r"found 'a' with down; iterate"):
        Zoo.from_rows(torch.ones(1, 2), layout, torch.tensor([0]), ["cat"]).module("a")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_rows_of_another_type_become_float32(dtype: torch.dtype) -> None:
    zoo = zoo_of(torch.arange(42).view(3, 14).to(dtype))
    assert_close(zoo.rows, torch.arange(42.0).view(3, 14), rtol=0, atol=0)


def test_rows_of_float32_are_shared_and_others_are_copied() -> None:
    rows = torch.randn(14, 3, requires_grad=True).T  # crosswise, and in need of a gradient
    zoo = zoo_of(rows)
    assert_close(zoo.rows, rows.detach(), rtol=0, atol=0)
    assert zoo.rows.is_contiguous()
    assert zoo_of(zoo.rows).rows.data_ptr() == zoo.rows.data_ptr()
    assert zoo_of(labels=torch.tensor([2, 0, 1], dtype=torch.int8)).labels.dtype == torch.int64


def test_rows_are_read_once_and_only_when_used(random_zoo: MakeZoo) -> None:
    zoo = copied(random_zoo(5))
    assert zoo.source.reads == []  # type: ignore[attr-defined]
    assert zoo.rows is zoo.rows
    assert zoo.source.reads == [(0, 5)]  # type: ignore[attr-defined]


def test_a_zoo_says_its_size() -> None:
    zoo = zoo_of()
    assert (len(zoo), zoo.nbytes) == (3, 3 * 14 * 4)
    assert repr(zoo).splitlines() == [
        "Zoo 'zoo': 3 adapters",
        "classes  3 (bird, cat, dog), 1 of each",
        "layers   2, 1 module of rank 2, 14 parameters",
        "weights  168 B, in memory",
    ]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"rows": torch.ones(3, 13)}, r"14 parameters and one label a row; found 3 rows of 13 and labels of shape \(3,\)"),
        ({"labels": torch.zeros(2)}, r"found 3 rows of 14 and labels of shape \(2,\)"),
        ({"labels": torch.zeros(4)}, r"found 3 rows of 14 and labels of shape \(4,\)"),
        ({"rows": torch.ones(0, 14), "labels": torch.zeros(1)}, r"found 0 rows of 14 and labels of shape \(1,\)"),
        ({"labels": torch.zeros(3, 1)}, r"labels of shape \(3, 1\)"),
        ({"rows": torch.ones(0, 14), "labels": torch.zeros(0)}, "expected at least one adapter; found none"),
        ({"labels": torch.tensor([-1, 0, 1])}, r"labels from 0 to 2 \(bird, cat, dog\); found labels from -1 to 1"),
        ({"labels": torch.tensor([0, 1, 3])}, r"labels from 0 to 2 \(bird, cat, dog\); found labels from 0 to 3"),
        *(
            ({"split": torch.tensor(split)}, r"0, 1 or 2 \(train, validation, test\) for each row as split")
            for split in ([0, 1], [0, 1, 3], [-1, 0, 1])
        ),
    ],
)
def test_what_contradicts_itself_is_refused(said: dict[str, torch.Tensor], told: str) -> None:
    with pytest.raises(LoraPerfError, match=told):
        zoo_of(**{name: value if name == "rows" else value.long() for name, value in said.items()})  # type: ignore[arg-type]


@given(n=st.integers(1, 40), nbytes=st.integers(1, 5000), in_memory=st.booleans())
def test_blocks_cover_all_rows_in_order_within_their_bytes(random_zoo: MakeZoo, n: int, nbytes: int, in_memory: bool) -> None:
    zoo = random_zoo(n)
    rows, p = zoo.rows, zoo.layout.p
    if not in_memory:
        zoo = copied(zoo)
    stop = 0
    for part, block in zoo.blocks(nbytes):
        assert part.start == stop
        stop = part.stop
        assert block.shape == (part.stop - part.start, p)
        assert block.nbytes <= max(nbytes, 4 * p)
        assert_close(block, rows[part], rtol=0, atol=0)
    assert stop == n


def test_blocks_from_a_source_share_one_buffer_and_read_each_row_once(random_zoo: MakeZoo) -> None:
    zoo = copied(random_zoo(10))
    addresses = {block.data_ptr() for _, block in zoo.blocks(nbytes=3 * 4 * zoo.layout.p)}
    assert len(addresses) == 1
    assert zoo.source.reads == [(0, 3), (3, 6), (6, 9), (9, 10)]  # type: ignore[attr-defined]


def test_blocks_of_rows_in_memory_are_views(random_zoo: MakeZoo) -> None:
    zoo, read = random_zoo(10), copied(random_zoo(10))
    _ = read.rows
    for one in (zoo, read):
        assert all(block.data_ptr() == one.rows[part].data_ptr() for part, block in one.blocks(nbytes=500))
    assert read.source.reads == [(0, 10)]  # type: ignore[attr-defined]


def test_a_matrix_in_memory_is_the_array_itself() -> None:
    rows = np.ones((2, 3), np.float32)
    source = ArrayRows(rows)
    assert source.matrix() is rows
    out = np.empty((1, 3), np.float32)
    source.read(1, 2, out)
    assert_array_equal(out, rows[1:])


def test_the_fingerprint_does_not_depend_on_where_the_rows_are(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(9, split=True)
    assert copied(zoo).fingerprint == zoo.fingerprint


@given(n=st.integers(1, 20), nbytes=st.integers(1, 3000))
def test_the_fingerprint_does_not_depend_on_the_blocks(random_zoo: MakeZoo, n: int, nbytes: int) -> None:
    zoo = random_zoo(n)
    hashes = new_hashes(n)
    for where, block in reversed([(where, block.clone()) for where, block in copied(zoo).blocks(nbytes)]):
        hashes[where] = row_hashes(block.numpy())
    assert Hashed.of(zoo, hashes).fingerprint == zoo.fingerprint


def test_the_name_is_no_part_of_the_fingerprint(random_zoo: MakeZoo) -> None:
    zoo = random_zoo()
    other = Zoo(zoo.source, zoo.layout, zoo.labels, zoo.classes, name="other")
    assert other.fingerprint == zoo.fingerprint


def test_every_part_of_the_content_changes_the_fingerprint() -> None:
    rows = torch.arange(42.0).view(3, 14)
    changed = rows.clone()
    changed[1, 5] = torch.nextafter(changed[1, 5], torch.tensor(9.0))
    split = torch.tensor([0, 1, 2])
    turned = Layout([("a.lora.down.weight", (3, 2)), ("a.lora.up.weight", (4, 2))])
    labels = torch.tensor([0, 1, 2])
    zoos = [
        zoo_of(rows),
        zoo_of(changed),
        zoo_of(rows.flip(0)),
        zoo_of(rows, labels.flip(0)),
        zoo_of(rows, classes=["bird", "cat", "fish"]),
        zoo_of(rows, split=split),
        zoo_of(rows, split=split.flip(0)),
        Zoo.from_rows(rows, turned, labels, CLASSES),
    ]
    assert len({zoo.fingerprint for zoo in zoos}) == len(zoos)


def test_a_zoo_of_strided_labels_equals_one_of_dense_labels() -> None:
    strided = torch.tensor([0, 9, 1, 9, 2, 9])[::2]
    assert zoo_of(labels=strided).fingerprint == zoo_of(labels=torch.tensor([0, 1, 2])).fingerprint
