"""What is no product s B A: kinds of adapters, by the names of their tensors or by their configuration, and single tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed

EXPERTS = "LoRA of the experts of a layer"
# What marks each kind in the name of a tensor. A mark is a component of the name, so that no module's name holds it by chance.
_MARKS: dict[str, re.Pattern[str]] = {
    "LoHa": re.compile(r"(^|\.)hada_[wt][0-9]"),
    "LoKr": re.compile(r"(^|\.)lokr_[wt][0-9]"),
    "LoCon with a Tucker core (lora_mid)": re.compile(r"(^|\.)lora_mid(\.|$)"),
    "OFT": re.compile(r"(^|\.)oft_(blocks|diag|[rRsS])(\.|$)"),
    "BOFT": re.compile(r"(^|\.)boft_[RsS](\.|$)"),
    "DoRA": re.compile(r"(^|\.)(dora_scale|lora_magnitude_vector)(\.|$)"),
    "IA3": re.compile(r"(^|\.)(ia3_l|on_input)(\.|$)"),
    "GLoRA": re.compile(r"^(lora|lycoris)_[^.]+\.[ab][12]\.weight$"),
    "AdaLoRA": re.compile(r"(^|\.)lora_E(\.|$)"),
    "FourierFT": re.compile(r"(^|\.)fourierft_spectrum(\.|$)"),
    "WaveFT": re.compile(r"(^|\.)waveft_spectrum(\.|$)"),
    "VB-LoRA": re.compile(r"(^|\.)vblora_(logits|vector_bank)"),
    "RandLoRA": re.compile(r"(^|\.)randlora_(lambda|gamma|[AB])(\.|$)"),
    "HRA": re.compile(r"(^|\.)hra_u(\.|$)"),
    "SHiRA": re.compile(r"(^|\.)shira_weight(\.|$)"),
    "C3A": re.compile(r"(^|\.)c3a_kernel(\.|$)"),
    "RoAd": re.compile(r"(^|\.)road_(theta|alpha)(\.|$)"),
    "Bone or MiSS": re.compile(r"(^|\.)(bone|miss)_block(\.|$)"),
    "VeRA": re.compile(r"(^|\.)vera_(lambda_[bd]|[AB])(\.|$)"),
}
# The switches of a LoraConfig that make the update something else than s B A, with the kind that each makes.
_SWITCHES = {
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "target_parameters": f"{EXPERTS} (target_parameters)",
}

# Tensors that change the model too, but by no product B A: noted and left out.
EXTRAS = {
    ".bias": "a bias",
    ".bias_indices": "a sparse bias",
    ".bias_values": "a sparse bias",
    ".bias_size": "a sparse bias",
    ".diff": "a full difference",
    ".diff_b": "a difference of a bias",
    ".w_norm": "a norm",
    ".b_norm": "the bias of a norm",
}
# Whole modules that were trained beside the LoRA, and the embeddings of words.
_BESIDE = re.compile(r"(^|\.)(modules_to_save|original_module|bundle_emb)(\.|$)")
_PART = re.compile(r"lora|alpha", re.IGNORECASE)


def kinds(names: Iterable[str]) -> tuple[str, ...]:
    """The kinds of adapters among some names of tensors that this package does not read; none of them for a plain LoRA."""
    found = {kind for name in names for kind, mark in _MARKS.items() if mark.search(name)}
    return tuple(kind for kind in _MARKS if kind in found)


def is_part(name: str) -> bool:
    """Whether the name of a tensor that is no factor and no known alpha says that it belongs to the update of a LoRA."""
    return bool(_PART.search(name)) and not name.endswith(tuple(EXTRAS)) and not _BESIDE.search(name)


def config_kinds(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds that an `adapter_config.json` asks for and that this package does not read."""
    found = [kind for switch, kind in _SWITCHES.items() if config.get(switch)]
    named = config.get("peft_type")
    if named is not None and str(named).upper() != "LORA":
        found.append(str(named))
    return tuple(found)


def mlx_kinds(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The kind that an `adapter_config.json` of mlx-lm asks for, where it is no LoRA."""
    kind = str(config.get("fine_tune_type", "lora")).lower()
    return () if kind == "lora" else ({"dora": "DoRA", "full": "a full fine-tuning"}.get(kind, kind),)


def refuse(found: tuple[str, ...], where: str) -> None:
    """Refuses kinds that are no product B A, by their names; none of them is well."""
    if found:
        raise LoraPerfError(
            expected="a LoRA, of which each update is the product s B A of two factors",
            found=f"{listed(found)} in {where}",
            fix="leave the adapter out, or convert it to a plain LoRA with the program that trained it",
        )
