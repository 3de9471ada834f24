"""The kinds of adapters that are no product B A: told by their names and refused."""

from __future__ import annotations

import re

import pytest

from lora_perf.io.dialects import kinds, read_names
from tests.io.dialects.headers import SPELLINGS, Header, diffusers, entry, peft, refuses

MODULE = "lora_unet_down_blocks_0_attentions_0_proj_in"
MARKS = [
    (f"{MODULE}.hada_w1_a", "LoHa"),
    (f"{MODULE}.hada_t2", "LoHa"),
    (f"{MODULE}.lokr_w1", "LoKr"),
    (f"{MODULE}.lokr_w2_a", "LoKr"),
    (f"{MODULE}.lora_mid.weight", "LoCon with a Tucker core (lora_mid)"),
    (f"{MODULE}.oft_blocks", "OFT"),
    (f"{MODULE}.oft_diag", "OFT"),
    ("base_model.model.a.oft_R.weight", "OFT"),
    ("base_model.model.a.boft_R", "BOFT"),
    (f"{MODULE}.dora_scale", "DoRA"),
    ("unet.mid_block.to_q.lora_magnitude_vector", "DoRA"),
    ("base_model.model.a.lora_magnitude_vector.default.weight", "DoRA"),
    ("base_model.model.a.ia3_l", "IA3"),
    (f"{MODULE}.on_input", "IA3"),
    (f"{MODULE}.a1.weight", "GLoRA"),
    (f"{MODULE}.b2.weight", "GLoRA"),
    ("base_model.model.a.lora_E", "AdaLoRA"),
    ("base_model.model.a.vera_lambda_b", "VeRA"),
    ("base_model.model.a.fourierft_spectrum", "FourierFT"),
    ("base_model.model.a.waveft_spectrum", "WaveFT"),
    ("base_model.model.a.vblora_logits_A", "VB-LoRA"),
    ("base_model.model.a.randlora_gamma", "RandLoRA"),
    ("base_model.model.a.hra_u", "HRA"),
    ("base_model.model.a.shira_weight", "SHiRA"),
    ("base_model.model.a.c3a_kernel", "C3A"),
    ("base_model.model.a.road_theta", "RoAd"),
    ("base_model.model.a.miss_block", "Bone or MiSS"),
]


@pytest.mark.parametrize(("name", "kind"), MARKS)
def test_a_kind_is_told_by_a_name_and_refused(name: str, kind: str) -> None:
    assert kinds([name]) == (kind,)
    told = f"found {re.escape(kind)} in the names of its tensors; leave the adapter out"
    refuses({**diffusers("a"), name: entry(4, 4)}, told)


def test_several_kinds_are_each_named_once() -> None:
    assert kinds(["a.lokr_w1", "b.lokr_w1", "a.hada_w1_a", "c.lora.down.weight"]) == ("LoHa", "LoKr")


def test_plain_loras_and_names_that_only_resemble_a_mark_show_no_other_kind() -> None:
    assert kinds([name for spelling in SPELLINGS.values() for name in spelling[1:3]]) == ()
    assert kinds(["soft_blocks.0.lora.down.weight", "loft_diag.lora_A.weight", "my_dora_scale_net.weight"]) == ()


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("use_dora", True, "DoRA"),
        ("use_qalora", True, "QALoRA"),
        ("use_bdlora", {"nblocks": 2}, "BD-LoRA"),
        ("kasa_config", {"beta": 1.0}, "KaSA"),
        ("monteclora_config", {"num_samples": 2}, "MonteCLoRA"),
        ("target_parameters", ["experts.gate_up_proj"], r"LoRA of the experts of a layer \(target_parameters\)"),
        ("peft_type", "LOHA", "LOHA"),
        ("peft_type", 7, "7"),
    ],
)
def test_a_kind_is_told_by_the_configuration(option: str, value: object, kind: str) -> None:
    told = f"found {kind} in adapter_config.json; leave the adapter out"
    refuses(peft("a"), told, config={"r": 4, "lora_alpha": 4, option: value})


THREE_AXES = "LoRA of the experts of a layer, one pair for each of the 4"


def experts(down: tuple[int, ...], up: tuple[int, ...]) -> Header:
    return {"a.switch_mlp.up_proj.lora_a": entry(*down), "a.switch_mlp.up_proj.lora_b": entry(*up)}


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ({"lora_unet_a.diff": entry(6, 8)}, r"full differences \(\.diff\)"),
        ({"a.lora_a": entry(6, 4), "a.lora_b": entry(4, 5), "a.m": entry(5)}, "DoRA"),
        (peft("mlp.experts"), "LoRA of the experts of a layer"),
        (peft("mlp.experts.base_layer"), "LoRA of the experts of a layer"),
        (peft("mlp.experts.gate_up_proj"), "LoRA of the experts of a layer"),
        (experts((4, 2, 6), (4, 5, 2)), THREE_AXES),
        (experts((4, 6, 2), (4, 2, 5)), THREE_AXES),
        *(
            ({name: entry(4, 6)}, r"parts of the update that are not read: a\.lora")
            for name in ("a.lora_down.0.weight", "a.lora_A_q", "a.lora_C.weight")
        ),
    ],
)
def test_a_kind_that_its_surroundings_tell_is_refused_by_name(header: Header, kind: str) -> None:
    refuses(header, f"found {kind}")


@pytest.mark.parametrize("module", ["mlp.experts.0.up_proj", "mlp.shared_experts.up_proj", "mha.base_layer.out_proj"])
def test_modules_of_like_names_are_read(module: str) -> None:
    assert [pair.module for pair in read_names(peft(module)).pairs] == [module]
