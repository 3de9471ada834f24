"""Folders of adapter files: whatever the dialect, the rows are those of the files' tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import lora_perf
from lora_perf.io.store import verify
from tests.io.adapters import (
    BLOCK,
    DIALECTS,
    DTYPES,
    MODULES,
    assert_rows,
    factors,
    found_updates,
    kohya,
    names,
    row,
    save,
    save_in_order,
    tensors,
    updates,
    zoo_folder,
)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_are_those_of_the_tensors_in_every_dialect_and_dtype(dialect: str, dtype: torch.dtype, tmp_path: Path) -> None:
    paths = [save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i, dtype=dtype), dialect)) for i in range(7)]
    zoo = lora_perf.load(tmp_path)
    assert_rows(zoo, torch.stack([row(path, dialect) for path in paths]))
    assert [layer.name for layer in zoo.layout] == [name for module in MODULES for name in names(module, "diffusers")]
    assert (zoo.scales, zoo.ranks, zoo.skipped, zoo.name) == (None, None, (), tmp_path.name)


def test_adapters_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    paths = zoo_folder(tmp_path, 5)
    zoo = lora_perf.load(tmp_path)
    assert_rows(zoo, torch.stack([row(path) for path in paths]))
    assert (zoo.labels.tolist(), zoo.classes) == ([0, 0, 0, 1, 1], ["cat", "dog"])


@given(data=st.data())
def test_any_order_of_tensors_dtypes_and_strangers_gives_the_same_updates(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("zoo")
    expected = []
    for i in range(data.draw(st.integers(1, 3))):
        made = {
            module: tuple(side.to(data.draw(st.sampled_from(list(DTYPES.values())))) for side in sides)
            for module, sides in factors(i, data.draw(st.integers(1, 3))).items()
        }
        content = tensors(made, data.draw(st.sampled_from(DIALECTS)))  # type: ignore[arg-type]
        for name, size in data.draw(st.dictionaries(st.sampled_from(["a", "step", "z"]), st.integers(0, 9))).items():
            content[name] = torch.zeros(size, dtype=torch.int8)  # moves the factors to odd places
        order = data.draw(st.permutations(sorted(content)))
        metadata = data.draw(st.none() | st.just({"ss_tag": "{}", "format": "pt"}))
        save_in_order(folder / "cat" / f"{i}.safetensors", {name: content[name] for name in order}, metadata)
        expected.append(updates(made))  # type: ignore[arg-type]
    zoo = lora_perf.load(folder)
    for i, one in enumerate(expected):
        assert_close(found_updates(zoo, i), one, rtol=1e-6, atol=1e-6)


def test_convolutions_are_flattened(tmp_path: Path) -> None:
    down, up = torch.randn(2, 3, 3, 3), torch.randn(5, 2, 1, 1)
    stem = "lora_unet_down_blocks_0_resnets_0_conv1"
    save(tmp_path / "cat" / "a.safetensors", {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})
    zoo = lora_perf.load(tmp_path)
    assert [layer.shape for layer in zoo.layout] == [(2, 27), (5, 2)]
    assert_rows(zoo, torch.cat([down.flatten(), up.flatten()])[None])


def test_float64_beyond_float32_is_infinite(tmp_path: Path) -> None:
    made = factors(dtype=torch.float64)
    made[f"{BLOCK}.attn1.to_q"][0][0, 0] = 1e300
    save(tmp_path / "cat" / "a.safetensors", tensors(made))
    assert lora_perf.load(tmp_path).rows[0, 0] == float("inf")


def test_more_tensors_than_one_call_can_read_are_read(tmp_path: Path) -> None:
    modules = {f"unet.down_blocks.{i}.attn1.to_q": (2, 3) for i in range(700)}
    content = tensors(factors(modules=modules))
    path = save_in_order(tmp_path / "cat" / "a.safetensors", dict(reversed(content.items())))
    assert_rows(lora_perf.load(tmp_path), row(path, modules=modules)[None])


def test_wide_gaps_in_the_data_are_stepped_over(tmp_path: Path) -> None:
    content: dict[str, torch.Tensor] = {}
    for i, (name, tensor) in enumerate(tensors(factors()).items()):
        content |= {name: tensor, f"stranger {i}": torch.zeros(3_000 * i)}
    path = save_in_order(tmp_path / "cat" / "a.safetensors", content)
    assert_rows(lora_perf.load(tmp_path), row(path)[None])


def test_a_name_with_path_parts_is_only_a_name(tmp_path: Path) -> None:
    content = tensors(factors(modules={"../../escape": (2, 3)}))
    save(tmp_path / "zoo" / "cat" / "a.safetensors", content)
    assert lora_perf.load(tmp_path / "zoo").rows.shape == (1, 10)
    assert [path.name for path in tmp_path.iterdir()] == ["zoo"]


@pytest.mark.parametrize("kind", [str, Path])
def test_a_relative_folder_stays_the_same_folder(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = zoo_folder(tmp_path / "zoo")
    monkeypatch.chdir(tmp_path)
    zoo = lora_perf.load(kind("zoo"))
    monkeypatch.chdir("/")
    assert_rows(zoo, torch.stack([row(path) for path in paths]))


def test_threads_read_the_same_rows(tmp_path: Path) -> None:
    paths = [save(tmp_path / "cat" / f"{i:02d}.safetensors", tensors(factors(i, dtype=torch.float16))) for i in range(20)]
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert_rows(lora_perf.load(tmp_path), torch.stack([row(path) for path in paths]))
    finally:
        torch.set_num_threads(threads)


# Packing


def test_a_packed_folder_is_the_folder(tmp_path: Path) -> None:
    kohya(tmp_path / "zoo" / "cat" / "0.safetensors", 0, dict.fromkeys(MODULES, 1.0))
    kohya(tmp_path / "zoo" / "dog" / "1.safetensors", 1, dict.fromkeys(MODULES, 2.0), rank=3)
    zoo = lora_perf.load(tmp_path / "zoo")
    packed = lora_perf.load(lora_perf.pack(tmp_path / "zoo", tmp_path / "zoo.safetensors"))
    assert verify(tmp_path / "zoo.safetensors") == packed.fingerprint == zoo.fingerprint
    assert_close(packed.scales, zoo.scales, rtol=0, atol=0)
    assert_close(packed.ranks, zoo.ranks, rtol=0, atol=0)
    for i in range(2):
        assert_close(found_updates(packed, i), found_updates(zoo, i), rtol=0, atol=0)
