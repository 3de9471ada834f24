from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.testing import assert_close

import lora_perf
from lora_perf.errors import LoraPerfError
from lora_perf.store import open_packed, verify
from lora_perf.zoo import FloatRows, Zoo
from lora_perf.zoos.synthetic import CLASSES, SyntheticConfig, SyntheticRows, generate, layout_of, main, stream, write

TINY = SyntheticConfig(Path("unused"), adapters=40, layout="tiny", rank=2, classes=3, seed=5)
Storage = Literal["nested", "array2d", "parquet", "packed", "folder"]
FOLDERS: tuple[Storage, ...] = ("nested", "array2d", "parquet")
STORAGES: tuple[Storage, ...] = (*FOLDERS, "packed", "folder")


def sd15(rank: int = 1) -> SyntheticConfig:
    return replace(TINY, layout="sd15", rank=rank)


def loaded(path: Path, cache: Path) -> Any:
    """The data set that `datasets` itself finds in a folder."""
    import datasets

    if list(path.glob("*.parquet")):
        return datasets.Dataset.from_parquet([str(file) for file in sorted(path.glob("*.parquet"))], cache_dir=str(cache))
    return datasets.load_from_disk(str(path))


def zoo_of(dataset: Any, config: SyntheticConfig) -> Zoo:
    """The zoo in a data set, by way of its Python values."""
    layout = layout_of(config)
    columns = [np.array(dataset[layer.name][:], np.float32).reshape(len(dataset), -1) for layer in layout]
    classes = sorted(set(dataset["category_label"]))
    labels = torch.tensor([classes.index(label) for label in dataset["category_label"]])
    return Zoo.from_rows(torch.from_numpy(np.concatenate(columns, axis=1)), layout, labels, classes)


# Layout


def test_the_sd15_layout_has_the_sizes_of_the_original() -> None:
    layout = layout_of(sd15())
    assert (len(layout), layout.p) == (128, 99_648)
    sizes = {group: sum(layer.size for layer in layout.group(group)) for group in ("visual", "text", "down", "up")}
    assert sizes == {"visual": 49_920, "text": 49_728, "down": 49_728, "up": 49_920}


def test_the_sd15_layout_has_sixteen_blocks_of_the_widths_of_the_unet() -> None:
    layout = layout_of(sd15())
    widths = {layer.module.split(".transformer_blocks")[0]: layer.shape[0] for layer in layout if layer.side == "up"}
    assert Counter(widths.values()) == {320: 5, 640: 5, 1280: 6}
    assert widths["unet.down_blocks.0.attentions.1"] == 320
    assert widths["unet.down_blocks.2.attentions.0"] == 1280
    assert widths["unet.mid_block.attentions.0"] == 1280
    assert widths["unet.up_blocks.1.attentions.2"] == 1280
    assert widths["unet.up_blocks.3.attentions.0"] == 320
    assert len(widths) == 16


def test_names_and_shapes_are_those_of_the_original() -> None:
    layout = layout_of(sd15(rank=4))
    block = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
    assert layout[f"{block}.attn1.to_q.lora.down.weight"].shape == (4, 320)
    assert layout[f"{block}.attn1.to_v.lora.up.weight"].shape == (320, 4)
    assert layout[f"{block}.attn2.to_q.lora.down.weight"].shape == (4, 320)
    reads_text = [layer.shape for layer in layout.group("attn2.to_v") if layer.side == "down"]
    assert reads_text == [(4, 768)] * 16
    assert layout.p == 4 * 99_648


def test_the_tiny_layout_has_the_groups_of_the_large_one() -> None:
    tiny, large = layout_of(TINY), layout_of(sd15())
    assert tiny.group_names == large.group_names
    assert max(max(layer.shape) for layer in tiny) == 16


# Content


def test_a_seed_gives_one_zoo_and_another_seed_another() -> None:
    assert generate(TINY).fingerprint == generate(TINY).fingerprint
    assert generate(TINY).fingerprint != generate(replace(TINY, seed=6)).fingerprint


@given(adapters=st.integers(3, 60), nbytes=st.integers(1, 60_000), seed=st.integers(0, 9))
def test_streamed_rows_do_not_depend_on_the_blocks(adapters: int, nbytes: int, seed: int) -> None:
    config = replace(TINY, adapters=adapters, seed=seed)
    blocks = [block.clone() for _, block in stream(config).blocks(nbytes)]
    assert_close(torch.cat(blocks), generate(config).rows, rtol=0, atol=0)


def test_any_part_can_be_read_alone_and_across_the_blocks_that_were_made() -> None:
    config = replace(TINY, adapters=2500)
    rows, source = generate(config).rows.numpy(), stream(config).source
    for start, stop in ((2400, 2500), (1000, 1100), (1024, 1025), (0, 2048), (7, 8)):
        out = np.empty((stop - start, source.p), np.float32)
        source.read(start, stop, out)
        np.testing.assert_array_equal(out, rows[start:stop])


def test_class_signals_do_not_depend_on_the_number_of_adapters() -> None:
    few, many = (stream(replace(TINY, adapters=n)).source for n in (10, 500))
    assert isinstance(few, SyntheticRows)
    assert isinstance(many, SyntheticRows)
    np.testing.assert_array_equal(few._directions, many._directions)
    np.testing.assert_array_equal(few._log_strengths, many._log_strengths)


def test_labels_are_balanced_and_shuffled() -> None:
    labels = generate(TINY).labels
    assert sorted(torch.bincount(labels).tolist()) == [13, 13, 14]
    assert labels.tolist() != sorted(labels.tolist())
    assert labels.tolist() != [i % 3 for i in range(40)]


def test_class_names_are_the_first_of_the_original_in_sorted_order() -> None:
    assert generate(TINY).classes == ["airplane", "bird", "cat"]
    assert generate(replace(TINY, classes=4)).classes == ["airplane", "bird", "car", "cat"]
    many = generate(replace(TINY, classes=12)).classes
    assert many == sorted([*CLASSES, "class_10", "class_11"])


@pytest.mark.parametrize("config", [TINY, replace(TINY, layout="sd15", rank=1, adapters=20)])
def test_entries_look_like_lora_weights(config: SyntheticConfig) -> None:
    zoo = generate(config)
    assert torch.isfinite(zoo.rows).all()
    for layer in zoo.layout:
        std = zoo.layer(layer.name).std().item()
        if layer.side == "down":
            assert std == pytest.approx(layer.shape[1] ** -0.5, rel=0.15)
        else:
            assert 0.005 < std < 0.05


@pytest.fixture(scope="module")
def signal_zoo() -> Zoo:
    return generate(SyntheticConfig(Path("unused"), adapters=600, layout="tiny", classes=5))


def probe(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Accuracy on the last third of a ridge classifier trained on the rest."""
    x = torch.nn.functional.normalize(features.double() - features[:400].double().mean(0), dim=0)
    y = torch.nn.functional.one_hot(labels).double() - 1 / 5
    weights = torch.linalg.solve(x[:400].T @ x[:400] + 0.3 * torch.eye(x.shape[1]), x[:400].T @ y[:400])
    return float(((x[400:] @ weights).argmax(1) == labels[400:]).double().mean())


def test_norms_tell_the_classes_apart_but_not_fully(signal_zoo: Zoo) -> None:
    norms = torch.stack([signal_zoo.layer(layer.name).flatten(1).norm(dim=1).log() for layer in signal_zoo.layout], 1)
    assert 0.35 < probe(norms, signal_zoo.labels) < 0.95  # chance is 0.2


def test_products_tell_the_classes_apart_while_flat_factors_do_not(signal_zoo: Zoo) -> None:
    products = []
    for module in dict.fromkeys(layer.module for layer in signal_zoo.layout):
        up, down = signal_zoo.module(module)
        products.append(torch.nn.functional.normalize((up @ down).flatten(1)))
    flat = torch.cat([torch.nn.functional.normalize(signal_zoo.layer(layer.name).flatten(1)) for layer in signal_zoo.layout], 1)
    assert 0.35 < probe(torch.cat(products, 1), signal_zoo.labels) < 0.99
    assert probe(flat, signal_zoo.labels) < 0.32


def test_a_class_has_its_own_shape_of_entries() -> None:
    zoo = generate(SyntheticConfig(Path("unused"), adapters=2000, layout="sd15", classes=2, layers=2))
    up = zoo.layer(zoo.layout.layers[1].name).flatten(1).double()
    kurtosis = ((up - up.mean(1, keepdim=True)) ** 4).mean(1) / up.var(1, correction=0) ** 2
    a, b = (kurtosis[zoo.labels == label] for label in (0, 1))
    standard_error = (a.var() / len(a) + b.var() / len(b)).sqrt()
    assert abs(a.mean() - b.mean()) > 4 * standard_error


# Storage


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


@pytest.mark.parametrize("storage", FOLDERS)
def test_there_are_several_shards(storage: Storage, written: dict[str, Path]) -> None:
    ending = "parquet" if storage == "parquet" else "arrow"
    assert sorted(path.name for path in written[storage].glob("data-*")) == [
        f"data-{i:05d}-of-00003.{ending}" for i in range(3)
    ]


@pytest.mark.parametrize("shards", [1, 7])
@pytest.mark.parametrize("storage", FOLDERS)
def test_the_number_of_shards_can_be_chosen(storage: Storage, shards: int, tmp_path: Path) -> None:
    config = replace(TINY, out=tmp_path / "zoo", storage=storage, shards=shards)
    write(config)
    assert len(list(config.out.glob("data-*"))) == shards
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
    assert (zoo.layout, zoo.classes, zoo.scales, zoo.ranks) == (made.layout, made.classes, None, None)
    paths = sorted(path.relative_to(config.out).as_posix() for path in config.out.rglob("*.safetensors"))
    assert paths == [f"{made.classes[made.labels[i]]}/{i:02d}.safetensors" for i in order.tolist()]


def test_files_of_a_folder_are_read_by_safetensors(tmp_path: Path) -> None:
    write(replace(TINY, out=tmp_path / "zoo", storage="folder"))
    made = generate(TINY)
    for path in (tmp_path / "zoo").rglob("*.safetensors"):
        tensors, row = load_file(path), made.rows[int(path.stem)]
        assert sorted(tensors) == sorted(layer.name for layer in made.layout)
        for layer in made.layout:
            assert_close(tensors[layer.name], row[layer.columns].view(layer.shape), rtol=0, atol=0)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 0}, "expected --classes of at least 1; found 0; change --classes"),
        ({"adapters": 2}, "expected --adapters of at least 3; found 2"),
        ({"rank": 0}, "expected --rank from 1 to 8; found 0"),
        ({"rank": 9}, "expected --rank from 1 to 8; found 9"),
        ({"layout": "sd15", "rank": 321}, "expected --rank from 1 to 320; found 321"),
        ({"seed": -1}, "expected --seed of at least 0; found -1"),
        ({"layers": 0}, "expected --layers from 1 to 24; found 0"),
        ({"layers": 25}, "expected --layers from 1 to 24; found 25"),
        ({"shards": 0}, "expected --shards from 1 to 40; found 0"),
        ({"shards": 41}, "expected --shards from 1 to 40; found 41"),
        ({"shards": 2, "storage": "packed"}, "expected no --shards for the one packed file; found 2; leave out --shards"),
        ({"shards": 2, "storage": "folder"}, "expected no --shards for a file an adapter; found 2; leave out --shards"),
        ({"preset": "sanity-check"}, "with the preset sanity-check; found 40; leave out --preset or --adapters"),
    ],
)
def test_arguments_that_are_not_possible_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = replace(TINY, out=tmp_path / "zoo", **change)
    with pytest.raises(LoraPerfError, match=message):
        write(config)
    with pytest.raises(LoraPerfError, match=message):
        generate(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("storage", ["nested", "packed"])
@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_a_path_that_exists_is_refused_and_kept(storage: Storage, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "zoo"
    if kind == "file":
        out.touch()
    elif kind == "folder":
        out.mkdir()
    else:
        out.symlink_to("nowhere")
    with pytest.raises(LoraPerfError, match=r"expected a path that does not exist yet; found .*zoo; remove it"):
        write(replace(TINY, out=out, storage=storage))
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_place_that_cannot_be_written_is_refused(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LoraPerfError, match=r"that can be written for .*zoo; found (File exists|Not a directory)"):
        write(replace(TINY, out=tmp_path / "file" / "zoo", storage=storage))


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left"), LoraPerfError)]
)
def test_a_write_that_ends_early_leaves_nothing(
    storage: Storage, error: BaseException, raised: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SyntheticRows.read

    def broken(self: SyntheticRows, start: int, stop: int, out: FloatRows) -> None:
        if stop == self.n:
            raise error
        read(self, start, stop, out)

    monkeypatch.setattr(SyntheticRows, "read", broken)
    with pytest.raises(raised, match=None if raised is KeyboardInterrupt else "No space left"):
        write(replace(TINY, out=tmp_path / "zoo", storage=storage))
    assert list(tmp_path.iterdir()) == []


# Command line and memory


def test_the_command_writes_the_zoo_of_its_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "zoo"
    arguments = ["--adapters", "40", "--layout", "tiny", "--rank", "2", "--classes", "3", "--storage", "packed", "--seed", "5"]
    assert main([str(out), *arguments]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert verify(out) == generate(TINY).fingerprint


def test_a_refusal_is_one_line_and_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--layout", "tiny"]) == 2
    assert (
        capsys.readouterr().err
        == f"error: expected a path that does not exist yet; found {tmp_path}; remove it or choose another path\n"
    )


@pytest.mark.parametrize("arguments", [[], ["x", "--adapters", "many"], ["x", "--layout", "sdxl"], ["x", "--colour", "red"]])
def test_arguments_that_cannot_be_read_are_status_two(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lora_perf.zoos.synthetic", str(tmp_path / "zoo"), "--adapters", "100000"]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.rglob("*.arrow")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_adapters(run_python: Callable[..., str], tmp_path: Path) -> None:
    program = """
import resource, shutil, sys
from pathlib import Path
from lora_perf.zoos.synthetic import SyntheticConfig, write
for n in (90, 290):  # 36 and 116 MB, both more than a record batch
    write(SyntheticConfig(Path(sys.argv[1], "zoo"), adapters=n, shards=1))
    shutil.rmtree(Path(sys.argv[1], "zoo"))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""
    small, large = map(int, run_python(program, tmp_path).split())
    assert large - small < 20_000_000
