from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from lora_perf.core.adapter import AdapterDataset
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.io.store import open_packed, write
from tests.conftest import SHAPES, MakeZoo
from tests.core.test_zoo import copied
from tests.io.packed.files import with_tables


@pytest.mark.parametrize("read", [False, True], ids=["in memory", "read"])
def test_an_adapter_is_a_row_of_its_zoo(random_zoo: MakeZoo, read: bool) -> None:
    zoo = random_zoo()
    one = (copied(zoo) if read else zoo)[5]
    assert torch.equal(one.row, zoo.rows[5])
    assert (one.index, one.name, one.label) == (5, "row 5", int(zoo.required_labels[5]))
    assert one.class_name == zoo.classes[int(zoo.required_labels[5])]
    assert list(one.layers) == [name for name, _ in SHAPES]
    for name, layer in one.layers.items():
        assert torch.equal(layer, zoo.layer(name)[5])
    for name, pair in one.modules.items():
        up, down = zoo.module(name)
        assert_close(pair.update, up[5] @ down[5])


def test_an_adapter_has_its_own_rank_and_scale(random_zoo: MakeZoo) -> None:
    zoo = with_tables(random_zoo())
    assert zoo.ranks is not None
    assert zoo.scales is not None
    for i, one in enumerate(zoo):
        for place, pair in enumerate(one.modules.values()):
            assert pair.up.shape[1] == pair.down.shape[0] == int(zoo.ranks[i, place])
            assert pair.scale == float(zoo.scales[i, place])
            assert_close(pair.update, pair.scale * pair.up @ pair.down)


def test_an_adapter_tells_what_it_is(random_zoo: MakeZoo) -> None:
    plain = random_zoo(2)
    zoo = Zoo(plain.source, plain.layout, names=["<script>a", "b\n"], metadata={"num_images": [5, 8]})
    assert repr(zoo[1]).splitlines() == [
        "Adapter 'b\\n' (row 1 of 'zoo')",
        "class       no label",
        "layers      4, 26 parameters",
        "modules     2 of rank 2",
        "num_images  8",
    ]
    assert "<script>" not in zoo[0]._repr_html_()
    assert zoo[1].metadata == {"num_images": 8}


@pytest.fixture
def packed(random_zoo: MakeZoo, tmp_path: Path) -> Zoo:
    write(random_zoo(20), tmp_path / "zoo.safetensors")
    return open_packed(tmp_path / "zoo.safetensors")


def test_a_loader_with_workers_gives_each_adapter_once(random_zoo: MakeZoo, packed: Zoo) -> None:
    zoo = random_zoo(20)
    batches = list(DataLoader(packed.dataset(), batch_size=6, num_workers=2, multiprocessing_context="fork"))
    assert torch.equal(torch.cat([rows for rows, _ in batches]), zoo.rows)
    assert torch.equal(torch.cat([labels for _, labels in batches]), zoo.required_labels)


def test_a_batch_is_read_at_once_in_the_order_asked_for(random_zoo: MakeZoo) -> None:
    zoo = copied(random_zoo(20))
    items = zoo.dataset().__getitems__([4, 19, 3, 5])
    assert torch.equal(torch.stack([row for row, _ in items]), random_zoo(20).rows[[4, 19, 3, 5]])
    assert zoo.source.reads == [(3, 6), (19, 20)]  # type: ignore[attr-defined]


def test_items_without_labels_are_rows(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(3)
    data = Zoo(zoo.source, zoo.layout).dataset()
    assert len(data) == 3
    assert torch.equal(data[2], zoo.rows[2])


def test_a_data_set_goes_to_another_process_by_its_source(random_zoo: MakeZoo, packed: Zoo) -> None:
    pickled = pickle.dumps(AdapterDataset(packed))
    assert random_zoo(20).rows.numpy().tobytes()[:64] not in pickled
    assert torch.equal(pickle.loads(pickled)[7][0], random_zoo(20).rows[7])


def test_adapters_of_different_ranks_are_no_data_set(random_zoo: MakeZoo) -> None:
    with pytest.raises(LoraPerfError, match=r"adapters of one rank for the row matrix"):
        with_tables(random_zoo()).dataset()
