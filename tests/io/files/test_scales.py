"""Folders of adapter files: the scales and the ranks of each adapter's modules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import lora_perf
from lora_perf.core.errors import LoraPerfError
from tests.io.adapters import (
    BLOCK,
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
)
from tests.io.checks import refuses

# Scales


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_an_alpha_of_any_dtype_over_the_rank_is_the_scale(dtype: torch.dtype, tmp_path: Path) -> None:
    kohya(tmp_path / "cat" / "a.safetensors", 0, {module: torch.tensor(3).to(dtype) for module in MODULES})
    assert_close(lora_perf.load(tmp_path).scales, torch.full((1, 3), 1.5))


def test_each_adapter_and_module_has_its_own_scale(tmp_path: Path) -> None:
    first, second, third = MODULES
    made = [
        kohya(tmp_path / "cat" / "0.safetensors", 0, {first: 1.0, third: 0.5}),
        kohya(tmp_path / "cat" / "1.safetensors", 1, {second: 8.0}, dtype=torch.float16),
        kohya(tmp_path / "cat" / "2.safetensors", 2, {}),
    ]
    zoo = lora_perf.load(tmp_path)
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
    assert_close(zoo.scales, torch.tensor([[0.0, 1, 2]] * 2))
    assert_rows(zoo, torch.stack([row(tmp_path / "cat" / "a.safetensors", "kohya", modules)] * 2))


def test_files_of_one_header_have_the_alphas_of_their_own(tmp_path: Path) -> None:
    for i in range(3):
        kohya(tmp_path / "cat" / f"{i}.safetensors", i, dict.fromkeys(MODULES, float(i)))
    assert_close(lora_perf.load(tmp_path).scales, torch.tensor([[0.0] * 3, [0.5] * 3, [1.0] * 3]))


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 1e300])
def test_an_alpha_that_is_no_finite_float32_is_refused(alpha: float, tmp_path: Path) -> None:
    kohya(tmp_path / "cat" / "a.safetensors", 0, {f"{BLOCK}.attn2.to_q": alpha}, dtype=torch.float64)
    found = re.escape(f"{alpha:g}")
    refuses(tmp_path, rf"a finite float32 in '.*attn2_to_q\.alpha' in .*a\.safetensors; found {found}")


def peft(folder: Path, seed: int, config: object, rank: int = 2) -> None:
    save(folder / "adapter_model.safetensors", tensors(factors(seed, rank), "peft"))
    (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def test_a_peft_adapter_is_its_folder_and_its_class_the_one_above(tmp_path: Path) -> None:
    peft(tmp_path / "dog" / "run", 0, {"peft_type": "LORA", "r": 2, "lora_alpha": 8})
    peft(tmp_path / "cat" / "run", 1, {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "use_rslora": True})
    zoo = lora_perf.load(tmp_path)
    assert (zoo.labels.tolist(), zoo.classes) == ([0, 1], ["cat", "dog"])
    assert_close(zoo.scales, torch.tensor([[8 / 2**0.5] * 3, [4.0] * 3]))


def test_the_scale_that_diffusers_wrote_into_the_metadata_counts(tmp_path: Path) -> None:
    for i, alpha in enumerate((2, 8)):
        metadata = {"format": "pt", "lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": alpha})}
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i), "diffusers-new"), metadata)
    assert_close(lora_perf.load(tmp_path).scales, torch.tensor([[1.0] * 3, [4.0] * 3]))


@pytest.mark.parametrize("config", ["{", "[1]", "", "\xff"])
def test_a_damaged_peft_configuration_is_refused(config: str, tmp_path: Path) -> None:
    peft(tmp_path / "cat" / "run", 0, config)
    refuses(tmp_path, r"a readable .*adapter_config\.json")


# Ranks


def test_smaller_ranks_are_filled_with_zeros_and_keep_their_updates(tmp_path: Path) -> None:
    ranks = [(1, 3, 2), (4, 3, 1), (2, 2, 2)]
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    made = [factors(i, one, dtype=dtype) for i, (one, dtype) in enumerate(zip(ranks, dtypes, strict=True))]
    for i, one in enumerate(made):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(one))
    zoo = lora_perf.load(tmp_path)
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
