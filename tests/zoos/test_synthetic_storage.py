from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

import lora_perf
from lora_perf.io.store import open_packed, verify
from lora_perf.zoos.synthetic import SyntheticConfig, generate, layout_of, write
from tests.zoos.synthetic import FOLDERS, STORAGES, TINY, Storage, loaded, sd15, zoo_of


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny zoo in each storage."""
    folder = tmp_path_factory.mktemp("written")
    for storage in STORAGES:
        write(replace(TINY, out=folder / storage, storage=storage))
    return {storage: folder / storage for storage in STORAGES}


@pytest.mark.parametrize("storage", FOLDERS)
def test_datasets_reads_the_generated_zoo(storage: Storage, written: dict[str, Path], tmp_path: Path) -> None:
    zoo, again = generate(TINY), zoo_of(loaded(written[storage], tmp_path), TINY)
    assert_close(again.rows, zoo.rows, rtol=0, atol=0)
    assert_close(again.labels, zoo.labels)
    assert again.fingerprint == zoo.fingerprint


def test_the_packed_file_is_the_generated_zoo(written: dict[str, Path]) -> None:
    zoo = open_packed(written["packed"])
    assert verify(written["packed"]) == generate(TINY).fingerprint
    assert zoo.name == "synthetic-tiny-40"


@pytest.mark.parametrize("storage", FOLDERS)
def test_features_are_those_of_the_original(storage: Storage, written: dict[str, Path], tmp_path: Path) -> None:
    from datasets import Array2D, List, Value

    features = dict(loaded(written[storage], tmp_path).features)
    strings = dict.fromkeys(("category_label", "category_name", "folder"), Value("string"))
    beside = {**strings, "num_images": Value("int64"), "step_loss": Value("float64")}
    assert {name: features.pop(name) for name in beside} == beside
    for layer in layout_of(TINY):
        nested = List(List(Value("float32")))
        assert features.pop(layer.name) == (Array2D(layer.shape, "float32") if storage == "array2d" else nested)
    assert features == {}


@pytest.mark.parametrize(
    ("storage", "column"), [("nested", "list<item: list<item: float>>"), ("array2d", "Array2DExtensionType")]
)
def test_columns_are_stored_as_datasets_stores_them(storage: Storage, column: str, written: dict[str, Path]) -> None:
    import datasets

    dataset = datasets.load_from_disk(str(written[storage]))
    assert column in str(dataset.data.column(layout_of(TINY).layers[0].name).type)


def test_columns_beside_the_weights_name_class_leaf_and_folder(written: dict[str, Path], tmp_path: Path) -> None:
    rows = loaded(written["nested"], tmp_path).select_columns(
        ["category_label", "category_name", "folder", "num_images", "step_loss"]
    )
    for row in rows:
        assert row["category_name"].startswith(f"{row['category_label']}_leaf_")
        assert row["folder"].startswith(f"{row['category_name']}/")
        assert 5 <= row["num_images"] <= 20
        assert row["step_loss"] > 0
    assert len(set(rows["folder"])) == 40


@pytest.mark.parametrize("shards", [None, 1, 7])
@pytest.mark.parametrize("storage", FOLDERS)
def test_the_number_of_shards_can_be_chosen(storage: Storage, shards: int | None, tmp_path: Path) -> None:
    config = replace(TINY, out=tmp_path / "zoo", storage=storage, shards=shards)
    write(config)
    ending, count = "parquet" if storage == "parquet" else "arrow", shards or 3
    names = [f"data-{i:05d}-of-{count:05d}.{ending}" for i in range(count)]
    assert sorted(path.name for path in config.out.glob("data-*")) == names
    assert zoo_of(loaded(config.out, tmp_path / "cache"), config).fingerprint == generate(TINY).fingerprint


def test_record_batches_and_shards_of_any_size_hold_the_same_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_perf.zoos.files._BATCH_NBYTES", 7 * 4 * layout_of(TINY).p)
    config = replace(TINY, out=tmp_path / "zoo")
    write(config)
    dataset = loaded(config.out, tmp_path)
    assert [batch.num_rows for batch in dataset.data.table.to_batches()] == [7, 6, 7, 6, 7, 7]
    assert zoo_of(dataset, config).fingerprint == generate(TINY).fingerprint


def test_each_content_has_its_own_cache_key(written: dict[str, Path], tmp_path: Path) -> None:
    write(replace(TINY, out=tmp_path / "same"))
    write(replace(TINY, out=tmp_path / "other", seed=6))
    folders = [written["nested"], tmp_path / "same", written["array2d"], tmp_path / "other"]
    first, same, array2d, other = (loaded(folder, tmp_path)._fingerprint for folder in folders)
    assert first == same
    assert len({first, array2d, other}) == 3


def test_the_sanity_check_is_five_adapters_of_three_classes_and_twenty_layers(tmp_path: Path) -> None:
    config = SyntheticConfig(tmp_path / "sanity", preset="sanity-check")
    write(config)
    dataset = loaded(config.out, tmp_path)
    weights = [name for name in dataset.column_names if name.endswith(".weight")]
    layout = layout_of(sd15())
    assert weights == [layer.name for layer in layout.layers[:20]]
    assert {type(dataset.features[name]).__name__ for name in weights} == {"Array2D"}
    assert len(dataset) == 5
    assert sorted(Counter(dataset["category_label"]).values()) == [1, 2, 2]
    again = zoo_of(dataset, replace(sd15(), layers=20))
    assert again.fingerprint == generate(config).fingerprint


def test_a_folder_has_a_file_an_adapter_class_by_class(tmp_path: Path) -> None:
    config = replace(TINY, out=tmp_path / "zoo", storage="folder")
    write(config)
    zoo, made = lora_perf.load(config.out), generate(TINY)
    order = torch.argsort(made.labels, stable=True)
    assert_close(zoo.rows, made.rows[order], rtol=0, atol=0)
    assert_close(zoo.labels, made.labels[order])
    for path in config.out.rglob("*.safetensors"):  # as safetensors itself reads them
        tensors, row = load_file(path), made.rows[int(path.stem)]
        assert sorted(tensors) == sorted(layer.name for layer in made.layout)
        for layer in made.layout:
            assert_close(tensors[layer.name], row[layer.columns].view(layer.shape), rtol=0, atol=0)
    assert (zoo.layout, zoo.classes, zoo.scales, zoo.ranks) == (made.layout, made.classes, None, None)
    paths = sorted(path.relative_to(config.out).as_posix() for path in config.out.rglob("*.safetensors"))
    assert paths == [f"{made.classes[made.labels[i]]}/{i:02d}.safetensors" for i in order.tolist()]
