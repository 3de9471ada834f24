"""Factors as programs store them: float8, int8 with a scale, transposed; each row has the values that they mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import lora_perf
from tests.io.adapters import MODULES, factors, found_updates, names, save, tensors, updates
from tests.io.checks import refuses

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def first_row(folder: Path) -> Tensor:
    return lora_perf.load(folder).rows[0]


def flat(made: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """The row of some factors."""
    return torch.cat([side.float().flatten() for module in sorted(made) for side in made[module]])


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_float8_factors_are_read_exactly_with_their_alphas(dtype: torch.dtype, tmp_path: Path) -> None:
    made = factors(dtype=dtype)
    content = tensors(made, "kohya")
    for module in MODULES:
        content[names(module, "kohya")[0].replace(".lora_down.weight", ".alpha")] = torch.tensor(4.0).to(dtype)
    try:
        save(tmp_path / "cat" / "a.safetensors", content)
    except KeyError:
        pytest.skip(f"this safetensors writes no {dtype}")
    zoo = lora_perf.load(tmp_path)
    assert_close(zoo.rows[0], flat(made), rtol=0, atol=0)
    assert_close(zoo.scales, torch.full((1, 3), 2.0))


@pytest.mark.parametrize("ending", [".scale_weight", ".weight_scale", ".weight.scale"])
@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_quantised_factors_are_multiplied_with_their_scales(
    dtype: torch.dtype, by_row: bool, ending: str, tmp_path: Path
) -> None:
    made, content = {}, {}
    for module, sides in factors(rank=3).items():
        meant = []
        for name, side in zip(names(module, "peft"), sides, strict=True):
            scale = torch.rand(len(side), 1) + 0.5 if by_row else torch.tensor(0.25)
            values = (8 * side).to(dtype)
            content[name], content[name.removesuffix(".weight") + ending] = values, scale
            meant.append(values.float() * scale)
        made[module] = (meant[0], meant[1])
    save(tmp_path / "cat" / "a.safetensors", content, {"lora_alpha": "3"})
    assert_close(first_row(tmp_path), flat(made), rtol=0, atol=0)


def test_quantised_factors_of_a_smaller_rank_than_others_are_multiplied_in_place(tmp_path: Path) -> None:
    small, large = factors(0, rank=1), factors(1, rank=3)
    content = {}
    for name, side in tensors(small, "peft").items():
        content[name], content[name.removesuffix("weight") + "scale_weight"] = side.to(torch.float8_e5m2), torch.tensor(2.0)
    save(tmp_path / "cat" / "a.safetensors", content, {"lora_alpha": "1"})
    save(tmp_path / "cat" / "b.safetensors", tensors(large, "peft"), {"lora_alpha": "3"})
    zoo = lora_perf.load(tmp_path)
    eighth = {module: [side.to(torch.float8_e5m2).double() for side in sides] for module, sides in small.items()}
    assert_close(found_updates(zoo, 0), {module: 4 * up @ down for module, (down, up) in eighth.items()})
    assert_close(found_updates(zoo, 1), updates(large), rtol=1e-6, atol=1e-6)


CONTENT = tensors(factors(), "peft")
FIRST = next(iter(CONTENT))
REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "int8 without a scale": (
        {name: (8 * side).to(torch.int8) for name, side in CONTENT.items()},
        r"a scale for the int8 values of .*lora_A\.weight, such as .*lora_A\.scale_weight",
    ),
    "a scale by blocks": (
        {name: side.to(torch.float8_e4m3fn) for name, side in CONTENT.items()} | {FIRST + ".scale": torch.ones(7)},
        r"one number in .*weight\.scale, or one for each of the 2 rows .* found shape \(7,\)",
    ),
    **{
        ending: (
            {**CONTENT, FIRST.removesuffix(".weight") + ending: torch.ones(4)},
            rf"parts of the update that are not read: .*lora_A\{ending}",
        )
        for ending in (".weight.absmax", ".weight.SCB", ".weight_scale_inv", ".weight._data")
    },
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_quantised_factors_that_nothing_defines_are_refused_by_name(
    content: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    save(tmp_path / "cat" / "a.safetensors", content)
    refuses(tmp_path, message)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_factors_of_mlx_are_transposed_and_scaled_by_its_configuration(dtype: torch.dtype, tmp_path: Path) -> None:
    modules = {f"model.layers.{i}.self_attn.q_proj": (5, 5 + i) for i in range(2)}
    made = factors(rank=3, modules=modules, dtype=dtype)
    for name in ("adapters", "0000100_adapters"):
        content = {
            f"{module}.lora_{letter}": side.T.contiguous()
            for module in made
            for letter, side in zip("ab", made[module], strict=True)
        }
        save(tmp_path / "run" / f"{name}.safetensors", content)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 3, "scale": 20.0, "dropout": 0.0}}
    (tmp_path / "run" / "adapter_config.json").write_text(json.dumps(config))
    zoo = lora_perf.load(tmp_path)
    assert [module.name for module in zoo.layout.modules] == sorted(modules)
    assert_close(zoo.rows, flat(made).expand(2, -1), rtol=0, atol=0)
    assert_close(zoo.scales, torch.full((2, 2), 20.0))


def test_transposed_factors_stand_beside_those_of_other_programs_and_ranks(tmp_path: Path) -> None:
    modules = {"layers.0.q": (4, 5)}
    one, other = factors(0, 2, modules), factors(1, 3, modules)
    down, up = one["layers.0.q"]
    save(tmp_path / "cat" / "a.safetensors", {"layers.0.q.lora_a": down.T.contiguous(), "layers.0.q.lora_b": up.T.contiguous()})
    save(
        tmp_path / "cat" / "b.safetensors",
        {f"layers.0.q.lora_{side}": part for side, part in zip("AB", other["layers.0.q"], strict=True)},
    )
    zoo = lora_perf.load(tmp_path)
    for i, made in enumerate((one, other)):
        assert_close(found_updates(zoo, i), updates(made), rtol=1e-6, atol=1e-6)
