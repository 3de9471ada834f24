"""The kinds of adapters that are no product B A: told by their names and refused."""

from __future__ import annotations

import pytest

from lora_perf.dialects import kinds, read_names
from lora_perf.errors import LoraPerfError
from tests.dialects.headers import SPELLINGS, diffusers, entry, peft

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
]


@pytest.mark.parametrize(("name", "kind"), MARKS)
def test_a_kind_is_told_by_a_name(name: str, kind: str) -> None:
    assert kinds([name]) == (kind,)


@pytest.mark.parametrize(("name", "kind"), MARKS)
def test_a_file_with_one_tensor_of_another_kind_is_refused_by_its_name(name: str, kind: str) -> None:
    with pytest.raises(LoraPerfError) as caught:
        read_names({**diffusers("a"), name: entry(4, 4)})
    assert f"found {kind} in the names of its tensors; leave the adapter out" in str(caught.value)


def test_several_kinds_are_each_named_once() -> None:
    assert kinds(["a.lokr_w1", "b.lokr_w1", "a.hada_w1_a", "c.lora.down.weight"]) == ("LoHa", "LoKr")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_plain_lora_shows_no_other_kind(spelling: str) -> None:
    assert kinds(SPELLINGS[spelling][1:3]) == ()


def test_a_module_whose_name_only_resembles_a_mark_is_no_other_kind() -> None:
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
    with pytest.raises(LoraPerfError, match=f"found {kind} in adapter_config.json; leave the adapter out"):
        read_names(peft("a"), config={"r": 4, "lora_alpha": 4, option: value})
