"""The same modules under the names of different programs: one set of modules, with the right dW, scale and rank of each."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

import lora_perf
from lora_perf.io.dialects.wrappers import loose, loose_names
from tests.io.adapters import Factors, factors, found_updates, save, updates
from tests.io.checks import refuses

MODULES = {
    "blocks.0.self_attn.q": (6, 8),
    "blocks.0.self_attn.k_norm": (5, 8),
    "blocks.10.ffn.0": (7, 6),
    "blocks.2.ffn.0": (7, 6),
}
DOTTED = ("base_model.model.", "transformer.", "diffusion_model.", "model.diffusion_model.", "", "unet.", "model.")
UNDERSCORED = ("lora_unet_", "lora_transformer_", "lycoris_")


def write(path: Path, made: Factors, wrapper: str, alpha: float | None = None) -> None:
    content = {}
    for module, (down, up) in made.items():
        if wrapper in UNDERSCORED:
            stem = wrapper + module.replace(".", "_")
            content |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        else:
            stem = wrapper + module
            content |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
        if alpha is not None:
            content[f"{stem}.alpha"] = torch.tensor(alpha)
    save(path, content)


def test_one_transformer_as_five_programs_save_it_is_one_set_of_modules(tmp_path: Path) -> None:
    wrappers = ["base_model.model.", "transformer.", "diffusion_model.", "", "lora_unet_"]
    made = [factors(i, 2 + i, MODULES) for i in range(5)]
    for i, wrapper in enumerate(wrappers):
        write(tmp_path / "cat" / f"{i}.safetensors", made[i], wrapper, None if i < 4 else 3.0)
    zoo = lora_perf.load(tmp_path)
    assert {module.name for module in zoo.layout.modules} == set(MODULES)
    for i in range(5):
        s = 3 / 6 if i == 4 else 1
        assert_close(found_updates(zoo, i), updates(made[i], s), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("first", "second"), list(product(DOTTED[:5], (*DOTTED, *UNDERSCORED))))
def test_any_two_wrappers_meet(first: str, second: str, tmp_path: Path) -> None:
    made = [factors(i, (1, 2, 3, 4), MODULES) for i in range(2)]
    write(tmp_path / "cat" / "0.safetensors", made[0], first)
    write(tmp_path / "cat" / "1.safetensors", made[1], second, 8.0)
    zoo = lora_perf.load(tmp_path)
    names = [module.name for module in zoo.layout.modules]
    assert [loose(name) for name in names] == [loose(name) for name in sorted(MODULES)]
    for i, alpha in enumerate((None, 8.0)):
        ranks = {module: len(down) for module, (down, _) in made[i].items()}
        expected = {loose(name): (alpha / ranks[name] if alpha else 1) * dw for name, dw in updates(made[i]).items()}
        assert_close({loose(name): dw for name, dw in found_updates(zoo, i).items()}, expected, rtol=1e-6, atol=1e-6)


def test_the_usual_names_are_kept(tmp_path: Path) -> None:
    for i, wrapper in enumerate(["transformer.", *["diffusion_model."] * 2, *["lora_unet_"] * 3]):
        write(tmp_path / "cat" / f"{i}.safetensors", factors(i, 2, MODULES), wrapper)
    found = {module.name for module in lora_perf.load(tmp_path).layout.modules}
    assert found == {f"diffusion_model.{name}" for name in MODULES}


def test_two_models_of_one_adapter_are_not_made_one(tmp_path: Path) -> None:
    two = {"transformer.blocks.0.q": (4, 5), "model.blocks.0.q": (4, 5)}
    for label in "ab":
        write(tmp_path / label / "0.safetensors", factors(0, 2, two), "")
    assert {module.name for module in lora_perf.load(tmp_path).layout.modules} == set(two)


@pytest.mark.parametrize(
    ("wrapper", "width", "message"),
    [
        ("text_encoder.", 4, r"1 more \(text_encoder\.layers\.0\.q\), 1 missing \(transformer\.layers\.0\.q\)"),
        ("diffusion_model.", 5, "1 missing"),
    ],
    ids=["another component", "another shape"],
)
def test_other_modules_are_not_taken_for_those_of_a_transformer(wrapper: str, width: int, message: str, tmp_path: Path) -> None:
    write(tmp_path / "cat" / "0.safetensors", factors(0, 2, {"layers.0.q": (4, 4)}), "transformer.")
    write(tmp_path / "cat" / "1.safetensors", factors(0, 2, {"layers.0.q": (4, width)}), wrapper)
    refuses(tmp_path, message)


@given(
    st.lists(st.sampled_from([prefix + name for prefix in DOTTED for name in ("a.b", "a_b", "text_encoder.a")]), unique=True)
)
def test_common_names_never_make_two_modules_one(modules: list[str]) -> None:
    assert len(set(loose_names(modules).values())) == len(modules)


def test_the_original_names_of_a_unet_are_those_of_diffusers(tmp_path: Path) -> None:
    original = "input_blocks.4.1.transformer_blocks.1.attn2.to_k"
    shape = {"unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k": (5, 6)}
    made = [factors(i, 2, shape) for i in range(3)]
    renamed = [dict(zip([original], one.values(), strict=True)) for one in made]
    write(tmp_path / "cat" / "0.safetensors", renamed[0], "lora_unet_")
    write(tmp_path / "cat" / "1.safetensors", renamed[1], "diffusion_model.")
    write(tmp_path / "cat" / "2.safetensors", made[2], "")
    zoo = lora_perf.load(tmp_path)
    assert [module.name for module in zoo.layout.modules] == list(shape)
    for i in range(3):
        assert_close(found_updates(zoo, i), updates(made[i]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lora_te1_text_model_x", "text_encoder.text_model.x"),
        ("lora_te3_encoder_block_0", "text_encoder_3.encoder.block.0"),
        ("text_encoders.clip_g.transformer.text_model.x", "text_encoder_2.text_model.x"),
        ("base_model.model.model.layers.0.q", "layers.0.q"),
        ("pipe.dit.blocks.0.q", "lora_unet_blocks_0_q"),
        ("_orig_mod.transformer.blocks.0.q", "diffusion_model.blocks.0.q"),
    ],
)
def test_names_that_mean_one_module_have_one_common_name(one: str, other: str) -> None:
    assert loose(one) == loose(other)
