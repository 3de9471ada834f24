"""Features on disk: taken again for the same content only, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.features import Features
from lora_perf.core.zoo import Zoo
from lora_perf.representations import REPRESENTATIONS, cache
from lora_perf.representations.cache import FeatureCache
from tests.conftest import MakeZoo

TRAIN = torch.arange(12)
CPU = torch.device("cpu")
STORED = [name for name, one in REPRESENTATIONS.items() if one.stored and name not in ("vae", "denoising", "contrastive")]


def kept(folder: Path, zoo: Zoo, name: str, **settings: Any) -> Features:
    """Saved features, as they are read again."""
    kept_in = FeatureCache(folder, TRAIN)
    made = lora_perf.represent(zoo, [name], train=TRAIN, **settings)[name]
    kept_in.save(zoo, name, zoo.layout.layers, made)
    found = kept_in.load(zoo, name, zoo.layout.layers, CPU)
    assert found is not None
    assert torch.equal(found.values, made.values)
    return found


@pytest.mark.parametrize("name", STORED)
def test_what_was_stored_is_given_back(name: str, random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(18, (("a.lora.down.weight", (1, 4)), ("a.lora.up.weight", (4, 1))))
    assert FeatureCache(tmp_path / "new", TRAIN).load(zoo, name, zoo.layout.layers, CPU) is None
    found = kept(tmp_path / "new", zoo, name)
    assert found.parts == lora_perf.represent(zoo, [name], train=TRAIN)[name].parts
    assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".safetensors"]
    again = FeatureCache(tmp_path / "new", TRAIN.flip(0)).load(zoo, name, zoo.layout.layers, CPU)
    assert again is not None
    assert torch.equal(again.values, found.values)


@pytest.mark.parametrize("name", ["flat_vec", "ensemble", "rank"])
def test_what_is_the_zoo_itself_or_made_of_others_is_not_stored(name: str, random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo, kept_in = random_zoo(4), FeatureCache(tmp_path)
    kept_in.save(zoo, name, zoo.layout.layers, lora_perf.represent(zoo, [name])[name])
    assert kept_in.load(zoo, name, zoo.layout.layers, CPU) is None
    assert list(tmp_path.iterdir()) == []


def test_whatever_features_depend_on_is_in_the_key(
    random_zoo: MakeZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoo = random_zoo(18)
    scaled = Zoo.from_rows(zoo.rows, zoo.layout, zoo.labels, zoo.classes, scales=torch.full((18, 2), 2.0))
    places = []

    def place(zoo: Zoo, name: str, group: str = "all", device: str = "cpu", **settings: Any) -> None:
        asked = {"train": TRAIN, **settings}
        one = REPRESENTATIONS[name]
        found = FeatureCache(tmp_path, **asked).place(zoo, one, zoo.layout.group(group), torch.device(device))
        places.append(found)

    place(zoo, "dw_kernel")
    place(random_zoo(18, seed=1), "dw_kernel")
    place(scaled, "dw_kernel")
    place(zoo, "pca")
    place(zoo, "dw_kernel", train=TRAIN[1:])
    place(zoo, "dw_kernel", seed=43)
    place(zoo, "dw_kernel", "visual")
    for gpu in ("one", "another"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, gpu=gpu: gpu)
        place(zoo, "dw_kernel", device="cuda")
    place(zoo, "dw_norms")
    monkeypatch.setattr(cache, "code_version", lambda part: f"another {part}")
    place(zoo, "dw_kernel")
    assert len({path for path, _ in places}) == len({key for _, key in places}) == len(places)
    place(zoo, "dw_norms")
    place(zoo, "dw_norms", train=TRAIN[1:], seed=43)  # of no account where nothing is fitted
    assert places[-1] == places[-2]


@pytest.mark.parametrize("name", ["pca", "dw_norms"])
@pytest.mark.parametrize("damage", [b"", b"no safetensors", None], ids=["empty", "text", "cut"])
def test_a_damaged_file_counts_as_none(damage: bytes | None, name: str, random_zoo: MakeZoo, tmp_path: Path) -> None:
    zoo = random_zoo(18)
    kept(tmp_path, zoo, name)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4] if damage is None else damage)
    assert FeatureCache(tmp_path, TRAIN).load(zoo, name, zoo.layout.layers, CPU) is None
    kept(tmp_path, zoo, name)


def test_a_folder_that_cannot_be_written_is_named(random_zoo: MakeZoo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LoraPerfError, match="a folder that can be written"):
        kept(tmp_path / "file", random_zoo(18), "pca")


def test_an_unknown_name_is_answered_with_the_known_ones(random_zoo: MakeZoo, tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"a representation \(.*pca.*\); found 'tsne'"):
        FeatureCache(tmp_path).load(random_zoo(18), "tsne", (), CPU)
