"""Folders of adapter files: whatever the dialect, the rows are those of the files' tensors."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import lora_perf
from lora_perf.errors import LoraPerfError
from lora_perf.store import verify
from lora_perf.zoo import Zoo
from tests.sources.adapters import (
    BLOCK,
    DIALECTS,
    DTYPES,
    MODULES,
    Factors,
    factors,
    names,
    row,
    save,
    save_in_order,
    tensors,
    zoo_folder,
)


def assert_rows(zoo: Zoo, expected: torch.Tensor) -> None:
    """The zoo has these rows, both as a whole and in blocks."""
    for part, block in zoo.blocks(nbytes=3 * 4 * zoo.layout.p):
        assert_close(block, expected[part], rtol=0, atol=0, equal_nan=True)
    assert_close(zoo.rows, expected, rtol=0, atol=0, equal_nan=True)


def updates(made: Factors, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """dW of each module in float64."""
    return {module: scale * up.double() @ down.double() for module, (down, up) in made.items()}


def found_updates(zoo: Zoo, i: int) -> dict[str, torch.Tensor]:
    """dW of each module of adapter i, from the row that the zoo reads, its scales and its layout."""
    out = np.empty((1, zoo.layout.p), np.float32)
    zoo.source.read(i, i + 1, out)
    values = torch.from_numpy(out[0]).double()
    found = {}
    for j, module in enumerate(zoo.layout.modules):
        up, down = (values[layer.columns].view(layer.shape) for layer in (module.up, module.down))
        found[module.name] = (1.0 if zoo.scales is None else zoo.scales[i, j].double()) * up @ down
    return found


# Dialects, dtypes, orders


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_are_those_of_the_tensors_in_every_dialect_and_dtype(dialect: str, dtype: torch.dtype, tmp_path: Path) -> None:
    paths = [save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i, dtype=dtype), dialect)) for i in range(7)]
    zoo = lora_perf.load(tmp_path)
    assert_rows(zoo, torch.stack([row(path, dialect) for path in paths]))
    assert [layer.name for layer in zoo.layout] == [name for module in MODULES for name in names(module, "diffusers")]
    assert (zoo.scales, zoo.ranks, zoo.skipped, zoo.name) == (None, None, (), tmp_path.name)


def test_one_zoo_may_mix_dialects(tmp_path: Path) -> None:
    paths = [save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i), name)) for i, name in enumerate(DIALECTS)]
    assert_rows(lora_perf.load(tmp_path), torch.stack([row(path, name) for path, name in zip(paths, DIALECTS, strict=True)]))


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
    zoo = lora_perf.load(tmp_path / "zoo")
    assert zoo.rows.shape == (1, 10)
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


# Scales


def kohya(path: Path, seed: int, alphas: dict[str, Any], *, rank: int = 2, dtype: torch.dtype = torch.float32) -> Factors:
    """A kohya file with alphas of some modules; its factors."""
    made = factors(seed, rank, dtype=dtype)
    content = tensors(made, "kohya")
    for module, alpha in alphas.items():
        tensor = alpha if isinstance(alpha, torch.Tensor) else torch.tensor(alpha, dtype=dtype)
        content[names(module, "kohya")[0].replace("lora_down.weight", "alpha")] = tensor
    save(path, content)
    return made


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_an_alpha_of_any_dtype_over_the_rank_is_the_scale(dtype: torch.dtype, tmp_path: Path) -> None:
    kohya(tmp_path / "cat" / "a.safetensors", 0, {module: torch.tensor(3).to(dtype) for module in MODULES})
    zoo = lora_perf.load(tmp_path)
    assert zoo.scales is not None
    assert_close(zoo.scales, torch.full((1, 3), 1.5))


def test_each_adapter_and_module_has_its_own_scale(tmp_path: Path) -> None:
    first, second, third = MODULES
    made = [
        kohya(tmp_path / "cat" / "0.safetensors", 0, {first: 1.0, third: 0.5}),
        kohya(tmp_path / "cat" / "1.safetensors", 1, {second: 8.0}, dtype=torch.float16),
        kohya(tmp_path / "cat" / "2.safetensors", 2, {}),
    ]
    zoo = lora_perf.load(tmp_path)
    assert zoo.scales is not None
    assert zoo.scales.dtype == torch.float32
    assert_close(zoo.scales, torch.tensor([[0.5, 1, 0.25], [1, 4, 1], [1, 1, 1]]))
    for i, scales in enumerate(zoo.scales.tolist()):
        expected = {name: s * dw for s, (name, dw) in zip(scales, updates(made[i]).items(), strict=True)}
        assert_close(found_updates(zoo, i), expected, rtol=1e-6, atol=1e-6)


def test_alphas_that_equal_the_rank_leave_no_scales(tmp_path: Path) -> None:
    kohya(tmp_path / "cat" / "a.safetensors", 0, dict.fromkeys(MODULES, 2.0))
    assert lora_perf.load(tmp_path).scales is None


def test_alphas_far_apart_in_the_file_are_found(tmp_path: Path) -> None:
    modules = {f"{BLOCK}.attn1.{one}": (9_000, 5) for one in ("to_k", "to_q", "to_v")}
    content = tensors(factors(modules=modules), "kohya")
    for i, module in enumerate(modules):
        content[names(module, "kohya")[0].replace("lora_down.weight", "alpha")] = torch.tensor(2.0 * i)
    for path, write in ((tmp_path / "cat" / "a.safetensors", save), (tmp_path / "cat" / "b.safetensors", save_in_order)):
        write(path, content)
    zoo = lora_perf.load(tmp_path)
    assert zoo.scales is not None
    assert_close(zoo.scales, torch.tensor([[0.0, 1, 2]] * 2))
    assert_rows(zoo, torch.stack([row(tmp_path / "cat" / "a.safetensors", "kohya", modules)] * 2))


def test_files_of_one_header_have_the_alphas_of_their_own(tmp_path: Path) -> None:
    for i in range(3):
        kohya(tmp_path / "cat" / f"{i}.safetensors", i, dict.fromkeys(MODULES, float(i)))
    zoo = lora_perf.load(tmp_path)
    assert zoo.scales is not None
    assert_close(zoo.scales, torch.tensor([[0.0] * 3, [0.5] * 3, [1.0] * 3]))


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 1e300])
def test_an_alpha_that_is_no_finite_float32_is_refused(alpha: float, tmp_path: Path) -> None:
    kohya(tmp_path / "cat" / "a.safetensors", 0, {f"{BLOCK}.attn2.to_q": alpha}, dtype=torch.float64)
    found = re.escape(f"{alpha:g}")
    with pytest.raises(LoraPerfError, match=rf"a finite float32 in '.*attn2_to_q\.alpha' in .*a\.safetensors; found {found}"):
        lora_perf.load(tmp_path)


def peft(folder: Path, seed: int, config: object, rank: int = 2) -> None:
    save(folder / "adapter_model.safetensors", tensors(factors(seed, rank), "peft"))
    (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def test_a_peft_adapter_is_its_folder_and_its_class_the_one_above(tmp_path: Path) -> None:
    peft(tmp_path / "dog" / "run", 0, {"peft_type": "LORA", "r": 2, "lora_alpha": 8})
    peft(tmp_path / "cat" / "run", 1, {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "use_rslora": True})
    zoo = lora_perf.load(tmp_path)
    assert (zoo.labels.tolist(), zoo.classes) == ([0, 1], ["cat", "dog"])
    assert zoo.scales is not None
    assert_close(zoo.scales, torch.tensor([[8 / 2**0.5] * 3, [4.0] * 3]))


def test_the_scale_that_diffusers_wrote_into_the_metadata_counts(tmp_path: Path) -> None:
    for i, alpha in enumerate((2, 8)):
        metadata = {"format": "pt", "lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": alpha})}
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i), "diffusers-new"), metadata)
    zoo = lora_perf.load(tmp_path)
    assert zoo.scales is not None
    assert_close(zoo.scales, torch.tensor([[1.0] * 3, [4.0] * 3]))


@pytest.mark.parametrize("config", ["{", "[1]", "", "\xff"])
def test_a_damaged_peft_configuration_is_refused(config: str, tmp_path: Path) -> None:
    peft(tmp_path / "cat" / "run", 0, config)
    with pytest.raises(LoraPerfError, match=r"a readable .*adapter_config\.json"):
        lora_perf.load(tmp_path)


# Ranks


def test_smaller_ranks_are_filled_with_zeros_and_keep_their_updates(tmp_path: Path) -> None:
    ranks = [(1, 3, 2), (4, 3, 1), (2, 2, 2)]
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    made = [factors(i, one, dtype=dtype) for i, (one, dtype) in enumerate(zip(ranks, dtypes, strict=True))]
    for i, one in enumerate(made):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(one))
    zoo = lora_perf.load(tmp_path)
    assert zoo.ranks is not None
    assert zoo.ranks.tolist() == [list(one) for one in ranks]
    assert [module.rank for module in zoo.layout.modules] == [4, 3, 2]
    buffer = np.full((3, zoo.layout.p), np.nan, np.float32)  # what stood there before must vanish
    zoo.source.read(0, 3, buffer)
    for i, one in enumerate(made):
        assert_close(found_updates(zoo, i), updates(one), rtol=1e-6, atol=1e-6)
        values = torch.from_numpy(buffer[i])
        for module, r in zip(zoo.layout.modules, ranks[i], strict=True):
            down, up = (values[layer.columns].view(layer.shape) for layer in (module.down, module.up))
            expected_down, expected_up = one[module.name]
            assert_close(down[:r], expected_down.float(), rtol=0, atol=0)
            assert_close(up[:, :r], expected_up.float(), rtol=0, atol=0)
            assert down[r:].count_nonzero() == up[:, r:].count_nonzero() == 0


def test_the_row_matrix_of_different_ranks_is_refused(tmp_path: Path) -> None:
    for i in (1, 2):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i, i)))
    with pytest.raises(LoraPerfError, match="adapters of one rank for the row matrix; found ranks from 1 to 2"):
        _ = lora_perf.load(tmp_path).rows


def test_modules_of_different_ranks_in_equal_adapters_leave_no_ranks(tmp_path: Path) -> None:
    paths = [save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i, (1, 2, 3)))) for i in range(2)]
    zoo = lora_perf.load(tmp_path)
    assert zoo.ranks is None
    assert_rows(zoo, torch.stack([row(path) for path in paths]))


# Packing


def test_a_packed_folder_is_the_folder(tmp_path: Path) -> None:
    kohya(tmp_path / "zoo" / "cat" / "0.safetensors", 0, dict.fromkeys(MODULES, 1.0))
    kohya(tmp_path / "zoo" / "dog" / "1.safetensors", 1, dict.fromkeys(MODULES, 2.0), rank=3)
    zoo = lora_perf.load(tmp_path / "zoo")
    packed = lora_perf.load(lora_perf.pack(tmp_path / "zoo", tmp_path / "zoo.safetensors"))
    assert verify(tmp_path / "zoo.safetensors") == packed.fingerprint == zoo.fingerprint
    assert zoo.scales is not None
    assert zoo.ranks is not None
    assert_close(packed.scales, zoo.scales, rtol=0, atol=0)
    assert_close(packed.ranks, zoo.ranks, rtol=0, atol=0)
    for i in range(2):
        assert_close(found_updates(packed, i), found_updates(zoo, i), rtol=0, atol=0)


def test_packing_leaves_out_bad_files_where_it_may(tmp_path: Path) -> None:
    paths = zoo_folder(tmp_path / "zoo")
    paths[0].write_bytes(b"")
    with pytest.raises(LoraPerfError, match=r"cat/0\.safetensors; found an empty file"):
        lora_perf.pack(tmp_path / "zoo", tmp_path / "zoo.safetensors")
    packed = lora_perf.load(lora_perf.pack(tmp_path / "zoo", tmp_path / "zoo.safetensors", skip_bad=True))
    assert_rows(packed, torch.stack([row(path) for path in paths[1:]]))


# Modules


def test_missing_and_further_modules_are_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    modules = dict(list(MODULES.items())[1:]) | {f"{BLOCK}.attn1.to_k": (8, 6)}
    save(tmp_path / "dog" / "x.safetensors", tensors(factors(modules=modules)))
    message = (
        r"the modules of cat/0\.safetensors \(3\) in .*/dog/x\.safetensors; "
        r"found 1 more \(.*attn1\.to_k\), 1 missing \(.*attn1\.to_q\); load adapters of one set"
    )
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)


def test_at_most_three_modules_are_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    modules = MODULES | {f"{BLOCK}.attn1.x{i}": (2, 2) for i in range(5)}
    save(tmp_path / "cat" / "x.safetensors", tensors(factors(modules=modules)))
    with pytest.raises(LoraPerfError, match=r"5 more \([^,]*x0, [^,]*x1, [^,]*x2, \.\.\. \(5 in all\)\)"):
        lora_perf.load(tmp_path)


def test_a_module_of_another_shape_is_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "x.safetensors", tensors(factors(modules=MODULES | {f"{BLOCK}.attn1.to_q": (8, 7)})))
    with pytest.raises(LoraPerfError, match=r"found dW of other shapes \(.*attn1\.to_q of \(8, 7\), not \(8, 6\)\)"):
        lora_perf.load(tmp_path)


def test_the_modules_of_most_adapters_are_those_of_the_zoo(tmp_path: Path) -> None:
    paths = zoo_folder(tmp_path)
    save(tmp_path / "a" / "first.safetensors", tensors(factors(modules={"other": (2, 2)})))
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert_rows(zoo, torch.stack([row(path) for path in paths]))
    assert [one.path for one in zoo.skipped] == ["a/first.safetensors"]
    assert zoo.classes == ["cat", "dog"]


def test_sides_without_partner_are_named(tmp_path: Path) -> None:
    content = tensors(factors())
    del content[f"{BLOCK}.attn2.to_v.lora.up.weight"]
    save(tmp_path / "cat" / "a.safetensors", content)
    message = (
        r"a down and an up of each module in .*a\.safetensors; found 1 without partner: .*attn2\.to_v\.lora\.down\.weight;"
    )
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)


def test_a_kind_that_is_no_product_is_named_with_its_file(tmp_path: Path) -> None:
    content = tensors(factors()) | {"a.hada_w1_a": torch.zeros(2, 2)}
    save(tmp_path / "cat" / "a.safetensors", content)
    with pytest.raises(LoraPerfError, match=r"in .*/cat/a\.safetensors; found LoHa"):
        lora_perf.load(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float8_e4m3fn, torch.int8], ids=str)
def test_weights_of_another_dtype_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    content = tensors(factors())
    name = f"{BLOCK}.attn2.to_v.lora.up.weight"
    content[name] = content[name].to(dtype)
    save(tmp_path / "cat" / "a.safetensors", content)
    message = rf"a tensor '{re.escape(name)}' of dtype F32, F16, BF16, F64 in .*a\.safetensors; found (I64|BOOL|F8_E4M3|I8);"
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(tmp_path)


def test_tensors_that_are_no_lora_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i)) | {"emb_params": torch.zeros(3)})
    with caplog.at_level(logging.WARNING):
        lora_perf.load(tmp_path)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "3 adapters hold tensors that are no LoRA and are left out: emb_params"
    ]


# While the zoo is open


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, 0))


def cut(path: Path) -> None:
    times = path.stat()
    os.truncate(path, times.st_size - 1)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (changed, "another one, written since"),
        (cut, "another one, written since"),
        (replaced, "a folder"),
        (Path.unlink, "No such file or directory"),
    ],
)
def test_a_file_that_changed_while_the_zoo_is_open_is_reported(change: Any, found: str, tmp_path: Path) -> None:
    paths = zoo_folder(tmp_path)
    zoo = lora_perf.load(tmp_path)
    change(paths[2])
    with pytest.raises(LoraPerfError, match=rf"that was opened at .*/dog/1\.safetensors; found {found}; load the folder again"):
        list(zoo.blocks())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_file_that_ends_while_it_is_read_is_reported(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "cat" / "a.safetensors", tensors(factors(dtype=dtype)))
    zoo = lora_perf.load(tmp_path)
    whole = os.preadv
    monkeypatch.setattr(
        os, "preadv", lambda file, views, place: whole(file, [view[:2] for view in views[:1]], place) * (place < 700)
    )
    with pytest.raises(LoraPerfError, match=r"cat/a\.safetensors; found the end of the file; load the folder again"):
        _ = zoo.rows


def test_a_system_that_reads_a_few_bytes_a_call_reads_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_in_order(tmp_path / "cat" / "a.safetensors", dict(reversed(tensors(factors()).items())))
    whole = os.preadv

    def few(file: int, views: list[memoryview], place: int) -> int:
        left, chosen = 100, []
        for view in views:
            chosen.append(view[:left])
            left -= len(chosen[-1])
        return whole(file, chosen, place)

    monkeypatch.setattr(os, "preadv", few)
    assert_rows(lora_perf.load(tmp_path), row(path)[None])


def test_nothing_is_read_of_the_weights_before_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_folder(tmp_path)
    monkeypatch.setattr(os, "preadv", lambda *_: pytest.fail("read"))
    assert len(lora_perf.load(tmp_path)) == 4


def test_headers_that_were_seen_are_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(9):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i)), {"ss_output_name": "x" * (i // 3)})
    import lora_perf.sources.folder as reader

    parsed = []
    parse = reader.parse_header
    monkeypatch.setattr(reader, "parse_header", lambda text, size: parsed.append(text) or parse(text, size))
    assert len(lora_perf.load(tmp_path)) == 9
    assert len(parsed) == 1


def test_a_copy_of_the_folder_has_the_same_fingerprint(tmp_path: Path) -> None:
    zoo_folder(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert lora_perf.load(tmp_path / "one").fingerprint == lora_perf.load(tmp_path / "two").fingerprint
