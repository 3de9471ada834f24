"""digits-mixed: what its metadata say is so, and its program gives the same zoo again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lora_perf
from lora_perf import Zoo
from lora_perf.core.errors import LoraPerfError
from lora_perf.zoos import mixed
from lora_perf.zoos.creators import plan
from lora_perf.zoos.denoiser import DIGITS
from lora_perf.zoos.halves import open_halves, write_halves
from lora_perf.zoos.training import layout, read_digits

DATA = Path(lora_perf.__file__).parent / "zoos" / "data"
TINY = mixed.Config(Path("tiny.safetensors"), creators=(2, 1, 1), copies=4, base_steps=8, further_steps=4)


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return lora_perf.load("digits-mixed")


def test_the_parts_share_no_creator_and_hold_what_the_card_says(zoo: Zoo) -> None:
    card = json.loads((DATA / "digits-mixed.json").read_text())
    assert zoo.split is not None
    assert torch.bincount(zoo.split).tolist() == list(card["adapters"].values())
    assert len(zoo) == card["n"]
    assert (DATA / "digits-mixed.safetensors").stat().st_size == card["nbytes"] < 6_000_000
    creators = np.array(zoo.metadata["creator"])
    parts = [set(creators[zoo.split.numpy() == part]) for part in range(3)]
    assert [len(part) for part in parts] == list(card["creators"].values())
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert card["adapters"]["test"] >= 1000
    for column, key in (("rank", "ranks"), ("start", "starts")):
        values = list(map(str, zoo.metadata[column]))
        assert {name: values.count(name) for name in card[key]} == card[key]


def test_ranks_are_those_of_the_updates(zoo: Zoo) -> None:
    module = zoo.layout.modules[3]
    up, down = (zoo.layer(layer.name).double() for layer in (module.up, module.down))
    found = torch.linalg.matrix_rank(up @ down, rtol=1e-6)
    assert found.tolist() == zoo.metadata["rank"]
    assert bool(torch.isfinite(zoo.rows).all())


def test_copies_are_copies_and_nothing_else_is(zoo: Zoo) -> None:
    sketches = torch.nn.functional.normalize(lora_perf.represent(zoo, ["dw_sketch"])["dw_sketch"].values.double(), dim=1)
    place = {name: row for row, name in enumerate(zoo.names)}
    marked = {row: place[of] for row, of in enumerate(zoo.metadata["copy_of"]) if of is not None}
    assert len(marked) == 24
    assert sum(bool((zoo.rows[row] == zoo.rows[of]).all()) for row, of in marked.items()) == 12
    near = sketches @ sketches.mT > 0.999
    near.fill_diagonal_(False)
    pairs = {tuple(sorted(pair)) for pair in near.nonzero().tolist()}
    groups = {of: {of} | {row for row, one in marked.items() if one == of} for of in marked.values()}
    assert pairs == {(one, two) for group in groups.values() for one in group for two in group if one < two}


def test_a_stays_near_its_start_but_where_it_is_trained_from_a_small_one(zoo: Zoo) -> None:
    cosines = json.loads((DATA / "digits-mixed.json").read_text())["cosine of A to its start, median"]
    assert cosines["far"] < 0.85
    assert min(cosines["near"], cosines["shared"]) > 0.95
    assert cosines["frozen"] > 0.9999  # 16 bits
    shared = [row for row, start in enumerate(zoo.metadata["start"]) if start == "shared"]
    name = zoo.layout.modules[0].down.name
    first = torch.nn.functional.normalize(zoo.layer(name)[shared][:, 0].double(), dim=1)
    assert float(first.mean(dim=0).norm()) > 0.9


def test_the_same_settings_write_the_same_file_whatever_trains_beside_an_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    mixed.make(replace(TINY, out=paths[0]))
    monkeypatch.setattr(mixed, "_BATCH", 7)
    mixed.make(replace(TINY, out=paths[1]))
    one, two = (open_halves(path, layout) for path in paths)
    assert (one.names, dict(one.metadata)) == (two.names, dict(two.metadata))
    torch.testing.assert_close(one.rows, two.rows, rtol=0, atol=2e-2)  # products of other sizes round otherwise
    assert float((one.rows - two.rows).abs().mean()) < 1e-4
    assert one.layout.modules[0].up.shape[1] == max(one.metadata["rank"])
    assert str(tmp_path) not in paths[0].with_suffix(".json").read_text()


def test_images_of_creators_stay_in_the_pool_of_their_part() -> None:
    adapters = plan((20, 5, 20), TINY.each, 0, read_digits(TINY.seed), TINY.seed)
    used = [{image for one in adapters if one.part == part for image in one.images} for part in range(3)]
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]
    assert {one.digit for one in adapters} == set(range(len(DIGITS)))


def test_a_file_in_halves_is_read_as_it_was_written_and_damage_is_noticed(tmp_path: Path) -> None:
    ranks = [1, 2, 1]
    rows = [np.random.default_rng(k).normal(size=layout(rank).p).astype(np.float32) for k, rank in enumerate(ranks)]
    told = {"labels": [0, 1, 0], "classes": ["a", "b"], "split": [0, 1, 2], "names": list("xyz"), "metadata": {"rank": ranks}}
    path = tmp_path / "some.safetensors"
    write_halves(path, rows, ranks, told, "some")
    found = open_halves(path, layout)
    module = found.layout.modules[0]
    small, large = layout(1).modules[0], layout(2).modules[0]
    for number, own in ((0, small), (1, large)):
        up, down = (rows[number][side.columns].reshape(side.shape) for side in (own.up, own.down))
        padded = [found.layer(side.name)[number].double() for side in (module.up, module.down)]
        torch.testing.assert_close(padded[0] @ padded[1], torch.from_numpy(up @ down).double(), rtol=5e-3, atol=5e-3)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(LoraPerfError, match="other content"):
        open_halves(path, layout)
