"""Two zoos as one: rows, updates, labels and metadata of both, in any order of layers and for any ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lora_perf
from lora_perf import LoraPerfError, Zoo
from lora_perf.core.joining import JoinedZoo
from lora_perf.core.layout import Layout

MODULES = ("a.attn1.to_q", "a.attn1.to_v", "b.attn2.to_q")
SIZES = ((4, 5), (3, 3), (5, 2))


def zoo_of(
    ranks: list[int], n: int, seed: int, *, order: list[int] | None = None, own: bool = False, scaled: bool = False
) -> Zoo:
    """n adapters of three modules of these ranks, smaller ones where adapters have their own."""
    shapes = []
    for name, (m, k), rank in zip(MODULES, SIZES, ranks, strict=True):
        shapes += [(f"unet.{name}.lora.down.weight", (rank, k)), (f"unet.{name}.lora.up.weight", (m, rank))]
    shapes = [shapes[place] for place in order] if order else shapes
    layout = Layout(shapes)
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, layout.p)).astype(np.float32)
    said: dict[str, object] = {}
    if own:
        table = np.stack([rng.integers(1, module.rank + 1, n) for module in layout.modules], axis=1)
        for place, module in enumerate(layout.modules):
            for row in range(n):
                rank = table[row, place]
                rows[row, module.down.columns].reshape(module.down.shape)[rank:] = 0
                rows[row, module.up.columns].reshape(module.up.shape)[:, rank:] = 0
        said["ranks"] = table
    if scaled:
        said["scales"] = rng.uniform(0.5, 2, (n, len(layout.modules))).astype(np.float32)
    return Zoo.from_rows(rows, layout, np.arange(n) % 2, ["x", "y"], name=f"z{seed}", **said)  # type: ignore[arg-type]


def update(zoo: Zoo, row: int, name: str) -> np.ndarray:
    """s B A in float64, written out."""
    place, module = next((k, one) for k, one in enumerate(zoo.layout.modules) if one.name == f"unet.{name}")
    values = zoo.source.matrix()[row].astype(np.float64)
    up, down = (values[layer.columns].reshape(layer.shape) for layer in (module.up, module.down))
    scale = 1.0 if zoo.scales is None else float(zoo.scales[row, place])
    return scale * sum(np.outer(up[:, j], down[j]) for j in range(module.rank))


sides = st.tuples(st.lists(st.integers(1, 3), min_size=3, max_size=3), st.integers(2, 5), st.booleans(), st.booleans())


@given(first=sides, second=sides, order=st.permutations(range(6)))
def test_every_adapter_keeps_its_update(
    first: tuple[list[int], int, bool, bool], second: tuple[list[int], int, bool, bool], order: list[int]
) -> None:
    one = zoo_of(first[0], first[1], 1, own=first[2], scaled=first[3])
    two = zoo_of(second[0], second[1], 2, order=order, own=second[2], scaled=second[3])
    both = JoinedZoo(one, two)
    assert len(both) == len(one) + len(two)
    for row in range(len(both)):
        zoo, at = (one, row) if row < len(one) else (two, row - len(one))
        for name in MODULES:
            np.testing.assert_array_equal(update(both, row, name), update(zoo, at, name))
    if both.ranks is not None:
        names = [module.name for module in both.layout.modules]
        for row in range(len(both)):
            zoo, at = (one, row) if row < len(one) else (two, row - len(one))
            for place, module in enumerate(zoo.layout.modules):
                wanted = module.rank if zoo.ranks is None else int(zoo.ranks[at, place])
                assert int(both.ranks[row, names.index(module.name)]) == wanted
    blocks = torch.cat([block.clone() for _, block in both.blocks(nbytes=4 * both.layout.p * 2)])
    assert torch.equal(blocks, torch.from_numpy(both.source.matrix()))


def test_classes_are_one_by_their_names() -> None:
    one = zoo_of([1, 1, 1], 4, 1)
    two = zoo_of([1, 1, 1], 3, 2).relabelled([0, 1, 1], ["y", "new"])
    both = JoinedZoo(one, two)
    assert both.classes == ["x", "y", "new"]
    assert both.required_labels.tolist() == [0, 1, 0, 1, 1, 2, 2]


def test_metadata_of_both_stay_and_names_tell_where_an_adapter_is_from() -> None:
    rows, layout = torch.ones(2, 13), Layout([("a.lora.down.weight", (1, 5)), ("a.lora.up.weight", (8, 1))])
    one = Zoo.from_rows(rows, layout, name="one", metadata={"steps": [1, 2], "only": [3, 4]}, names=["p", "q"])
    two = Zoo.from_rows(rows, layout, name="two", metadata={"steps": [5, 6]})
    both = JoinedZoo(one, two)
    assert dict(both.metadata) == {"steps": [1, 2, 5, 6]}
    assert both.names == ["one: p", "one: q", "two: row 0", "two: row 1"]
    assert both.labels is None


def test_the_fingerprint_is_that_of_the_same_rows_in_memory_and_parts_keep_their_promise() -> None:
    one, two = lora_perf.load("digits"), lora_perf.load("digits-shared")
    both = JoinedZoo(one, two)
    rows = torch.cat([one.rows, two.rows])
    labels = torch.cat([one.required_labels, two.required_labels])
    assert both.fingerprint == Zoo.from_rows(rows, one.layout, labels, one.classes).fingerprint


@pytest.mark.parametrize(
    ("other", "telling"),
    [
        (Layout([("unet.a.lora.down.weight", (1, 5))]), "1 of one that two has not"),
        (Layout([("unet.a.lora.down.weight", (1, 6)), ("unet.a.lora.up.weight", (8, 1))]), r"shape \(1, 5\) and \(1, 6\)"),
    ],
)
def test_zoos_of_other_modules_are_refused(other: Layout, telling: str) -> None:
    layout = Layout([("unet.a.lora.down.weight", (1, 5)), ("unet.a.lora.up.weight", (8, 1))])
    one, two = (Zoo.from_rows(torch.ones(2, each.p), each, name=name) for each, name in ((layout, "one"), (other, "two")))
    with pytest.raises(LoraPerfError, match=telling):
        JoinedZoo(one, two)
