"""Some adapters of a zoo: the same as indexing of its rows, without reading others."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.rows import FloatRows, RowSource, gathered
from lora_perf.core.zoo import Zoo
from lora_perf.io.store import open_packed, write
from tests.conftest import MakeZoo
from tests.core.test_zoo import CopiedRows
from tests.io.packed.files import with_tables

N = 11
ROWS = st.lists(st.integers(-N, N - 1), min_size=1, max_size=20)


class Divisible(CopiedRows):
    divisible = True


@pytest.fixture(scope="module")
def whole(random_zoo: MakeZoo) -> Zoo:
    zoo = random_zoo(N, split=True)
    return Zoo(
        zoo.source,
        zoo.layout,
        zoo.labels,
        zoo.classes,
        split=zoo.split,
        names=[f"name {i}" for i in range(N)],
        metadata={"number": np.arange(N), "text": list("abcdefghijk")},
    )


@pytest.fixture(scope="module")
def sources(whole: Zoo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RowSource]:
    path = tmp_path_factory.mktemp("packed") / "zoo.safetensors"
    write(whole, path)
    rows: FloatRows = whole.rows.numpy()
    return {"memory": whole.source, "copied": CopiedRows(rows), "threads": Divisible(rows), "packed": open_packed(path).source}


def over(zoo: Zoo, source: RowSource) -> Zoo:
    said: dict[str, Any] = {"split": zoo.split, "names": zoo.names, "metadata": zoo.metadata}
    return Zoo(source, zoo.layout, zoo.labels, zoo.classes, **said)


@pytest.mark.parametrize("kind", ["memory", "copied", "threads", "packed"])
@given(data=st.data(), rows=ROWS, nbytes=st.integers(1, 3000))
def test_chosen_adapters_are_those_of_fancy_indexing(
    whole: Zoo, sources: dict[str, RowSource], kind: str, data: st.DataObject, rows: list[int], nbytes: int
) -> None:
    again = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=9))
    zoo = over(whole, sources[kind])
    once, twice = zoo[rows], zoo[rows][again]
    for one, at in ((once, torch.tensor(rows)), (twice, torch.tensor(rows)[again])):
        wanted = whole.rows[at]
        assert torch.equal(torch.cat([block.clone() for _, block in one.blocks(nbytes)]), wanted)
        assert torch.equal(one.rows, wanted)
        assert torch.equal(pickle.loads(pickle.dumps(one)).rows, wanted)
        assert whole.labels is not None
        assert whole.split is not None
        assert torch.equal(one.required_labels, whole.labels[at])
        assert one.split is not None
        assert torch.equal(one.split, whole.split[at])
        assert one.names == [whole.names[i] for i in at.tolist()]
        assert one.metadata["number"] == [i % N for i in at.tolist()]
    flat = Zoo.from_rows(whole.rows[rows], whole.layout, once.labels, whole.classes, split=once.split)
    assert once.fingerprint == flat.fingerprint
    np.testing.assert_array_equal(gathered(sources[kind], np.array(rows) % N), whole.rows.numpy()[rows])


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, -4), [10, 6, 2]),
        (range(3), [0, 1, 2]),
        (np.array([7, 0]), [7, 0]),
        (torch.tensor([1, -1]), [1, 10]),
        (np.arange(N) > 8, [9, 10]),
        (torch.arange(N) < 2, [0, 1]),
        ([i == 4 for i in range(N)], [4]),
    ],
    ids=repr,
)
def test_rows_are_chosen_as_numpy_chooses_them(whole: Zoo, choice: Any, wanted: list[int]) -> None:
    assert whole[choice].names == [f"name {i}" for i in wanted]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        *((rows, r"rows from 0 to 10; found -?\d+; choose rows") for rows in ([N], [0, -N - 1], torch.tensor([99]), N, -N - 1)),
        *((rows, "row numbers, a slice, or 11 booleans; found .* of shape") for rows in ([0.5], [[1, 2]], [True, False], "ab")),
        ([], "expected at least one adapter; found none"),
    ],
    ids=repr,
)
def test_what_is_no_choice_of_rows_is_refused(whole: Zoo, choice: Any, told: str) -> None:
    with pytest.raises(LoraPerfError, match=told) as raised:
        whole[choice]
    assert isinstance(raised.value, IndexError) == told.startswith("rows")


def test_neighbours_are_read_together_and_nothing_before_it_is_used(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(N)
    source = CopiedRows(zoo.rows.numpy())
    some = over(zoo, source)[[7, 2, 3, 4, 9, 10]]
    assert source.reads == []
    _ = some.rows
    assert source.reads == [(7, 8), (2, 5), (9, 11)]


def test_neighbours_of_a_mapped_file_stay_mapped(whole: Zoo, sources: dict[str, RowSource]) -> None:
    run = over(whole, sources["packed"])[3:8]
    assert run.source.mapped
    assert torch.equal(run.rows, whole.rows[3:8])
    assert not over(whole, sources["packed"])[[3, 5]].source.mapped


def test_neighbours_in_memory_are_views(whole: Zoo) -> None:
    assert whole[3:8].rows.data_ptr() == whole.rows[3:8].data_ptr()


def test_scales_and_ranks_are_chosen_too(random_zoo: MakeZoo) -> None:
    zoo = with_tables(random_zoo(7))
    some = zoo[[5, 1]]
    for one, all_of_them in ((some.scales, zoo.scales), (some.ranks, zoo.ranks)):
        assert one is not None
        assert all_of_them is not None
        assert torch.equal(one, all_of_them[[5, 1]])


def test_adapters_without_names_are_called_by_their_rows_in_the_whole_zoo(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(N)
    assert zoo.names[:2] == ["row 0", "row 1"]
    assert zoo[[7, 2]][1:].names == ["row 2"]
    assert not zoo.named


@pytest.mark.parametrize(("part", "name"), list(enumerate(["train", "validation", "test"])))
def test_parts_of_the_split_are_zoos(whole: Zoo, part: int, name: str) -> None:
    assert whole.split is not None
    rows = torch.nonzero(whole.split == part)[:, 0]
    assert torch.equal(getattr(whole, name).rows, whole.rows[rows])


def test_a_part_without_a_split_is_refused(random_zoo: MakeZoo) -> None:
    with pytest.raises(LoraPerfError, match=r"expected test adapters in zoo by a split of its own; found no split; choose"):
        _ = random_zoo().test


def test_a_pickle_of_few_rows_in_memory_holds_these_only(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(1000)
    assert len(pickle.dumps(zoo[[1, 500, 7]])) < zoo.nbytes / 4


def test_a_zoo_saves_itself(whole: Zoo, tmp_path: Path) -> None:
    path = whole[[2, 0]].save(tmp_path / "two.safetensors")
    assert torch.equal(open_packed(path).rows, whole.rows[[2, 0]])


def test_a_zoo_needs_no_labels(random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(5)
    bare = Zoo(zoo.source, zoo.layout)
    assert (bare.labels, bare.classes, bare[1:3].labels) == (None, [], None)
    assert bare.fingerprint != zoo.fingerprint
    again = open_packed(bare.save(tmp_path / "bare.safetensors"))
    assert again.labels is None
    assert again.fingerprint == bare.fingerprint
    with pytest.raises(LoraPerfError, match=r"expected adapters with labels in zoo; found none; name the column"):
        _ = bare.required_labels


def test_classes_without_labels_are_refused(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(5)
    with pytest.raises(LoraPerfError, match=r"expected labels with the classes, or neither; found 3 classes alone"):
        Zoo(zoo.source, zoo.layout, None, zoo.classes)


LAYERS: dict[str, Callable[..., torch.Tensor]] = {"double": torch.ones, "half": lambda *s: torch.ones(*s).half()}


@pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
def test_layers_of_tensors_become_a_zoo(make: Callable[..., torch.Tensor]) -> None:
    layers = {"a.lora.down.weight": 2 * make(3, 2, 5), "a.lora.up.weight": 3 * make(3, 4, 2)}
    zoo = Zoo.from_tensors(layers, ["10", "9", "10"], names=["x", "y", "z"])
    assert (zoo.classes, zoo.required_labels.tolist(), zoo.names) == (["9", "10"], [1, 0, 1], ["x", "y", "z"])
    for name, layer in layers.items():
        assert torch.equal(zoo.layer(name), layer.float())


@pytest.mark.parametrize("layers", [{}, {"a.lora.down.weight": torch.ones(3, 2)}], ids=["none", "no matrices"])
def test_tensors_that_are_no_layers_are_refused(layers: dict[str, torch.Tensor]) -> None:
    with pytest.raises(LoraPerfError, match=r"layers as tensors \(n, rows, columns\)"):
        Zoo.from_tensors(layers)
