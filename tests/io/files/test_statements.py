"""Folders of adapters: what tensors, metadata and configurations state of a scale is compared, file by file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import lora_perf
from tests.io.adapters import MODULES, factors, found_updates, kohya, names, save, tensors, updates
from tests.io.checks import labels, parts, refuses

KOHYA = {"ss_network_alpha": "4.0", "ss_network_dim": "2"}


def config(folder: Path, **settings: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **settings}))


def with_alphas(path: Path, alpha: float, metadata: dict[str, str], dtype: torch.dtype = torch.float32) -> None:
    content = tensors(factors(), "kohya")
    for module in MODULES:
        content[names(module, "kohya")[0].replace(".lora_down.weight", ".alpha")] = torch.tensor(alpha, dtype=dtype)
    save(path, content, metadata)


def test_a_renamed_file_of_peft_keeps_the_configuration_beside_it(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        save(tmp_path / label / "style.safetensors", tensors(factors(), "peft"))
        config(tmp_path / label, r=2, lora_alpha=16)
    zoo = lora_perf.load(tmp_path)
    assert_close(zoo.scales, torch.full((2, 3), 8.0))
    expected = {name: 8 * update for name, update in updates(factors()).items()}
    assert_close(found_updates(zoo, 1), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("folders", "classes", "split"),
    [
        (["cat/run0", "cat/run1", "dog/run0", "dog/run1"], ["cat", "cat", "dog", "dog"], None),
        (["train/cat", "train/dog", "test/cat"], ["cat", "cat", "dog"], [2, 0, 0]),
    ],
    ids=["a folder of its own", "a class of a part"],
)
def test_a_configuration_beside_a_renamed_file_leaves_classes_and_parts(
    folders: list[str], classes: list[str], split: list[int] | None, tmp_path: Path
) -> None:
    for folder in folders:
        save(tmp_path / folder / f"style {folder[-1]}.safetensors", tensors(factors(), "peft"))
        config(tmp_path / folder, r=2, lora_alpha=16)
    zoo = lora_perf.load(tmp_path)
    assert (labels(zoo), parts(zoo)) == (classes, split)
    assert_close(zoo.scales, torch.full((len(folders), 3), 8.0))


def test_one_configuration_beside_several_adapters_counts_only_where_none_of_them_needs_it(tmp_path: Path) -> None:
    for i in range(2):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i), "peft"))
    config(tmp_path / "cat", r=2, lora_alpha=16)
    refuses(tmp_path, r"the one adapter beside adapter_config\.json, .*cat/0\.safetensors; found 2 adapters")
    for i in range(2):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i), "peft"), {"lora_alpha": "6", "r": "2"})
    assert_close(lora_perf.load(tmp_path).scales, torch.full((2, 3), 3.0))


def test_files_of_one_layout_keep_the_scales_of_their_own_metadata(tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i)), {"alpha": str(2 + i), "steps": str(i)})
    assert_close(lora_perf.load(tmp_path).scales, torch.tensor([[1.0], [1.5], [2.0]]).expand(3, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn], ids=str)
def test_alphas_that_agree_with_their_statement_within_rounding_are_read(dtype: torch.dtype, tmp_path: Path) -> None:
    with_alphas(tmp_path / "cat" / "a.safetensors", 3.3, {"alpha": "3.3", "rank": "2"}, dtype)
    assert_close(lora_perf.load(tmp_path).scales, torch.full((1, 3), torch.tensor(3.3).to(dtype).item() / 2))


def test_alphas_that_contradict_a_configuration_are_refused_with_both_named(tmp_path: Path) -> None:
    with_alphas(tmp_path / "cat" / "a.safetensors", 4.0, {})
    config(tmp_path / "cat", r=2, lora_alpha=16)
    refuses(tmp_path, r"one scale for unet\..*; found 2 by .*\.alpha, 8 by adapter_config\.json; remove")


@pytest.mark.parametrize("metadata", [KOHYA, {"ss_network_alpha": "8", "ss_network_dim": "4"}, {"ss_network_alpha": "Dynamic"}])
def test_defaults_that_a_resized_file_keeps_are_no_contradiction(
    metadata: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_alphas(tmp_path / "cat" / "a.safetensors", 4.0, metadata)
    assert_close(lora_perf.load(tmp_path).scales, torch.full((1, 3), 2.0))
    assert caplog.messages == []


def test_defaults_that_the_alphas_contradict_are_told_and_the_alphas_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_alphas(tmp_path / "cat" / "a.safetensors", 1.0, KOHYA)
    assert_close(lora_perf.load(tmp_path).scales, torch.full((1, 3), 0.5))
    assert caplog.messages == [
        f"{tmp_path}: 1 adapters: ss_network_alpha = 4 and ss_network_dim = 2 in the metadata, but the alphas of 3 of 3 "
        "modules are others, and count"
    ]


def test_the_alphas_of_files_of_one_layout_are_compared_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i, alpha in enumerate((4.0, 1.0, 4.0)):
        with_alphas(tmp_path / "cat" / f"{i}.safetensors", alpha, KOHYA)
    lora_perf.load(tmp_path)
    assert [message.split(": ")[1] for message in caplog.messages] == ["1 adapters"]


def test_an_alpha_under_another_wrapper_finds_its_factors(tmp_path: Path) -> None:
    content: dict[str, Tensor] = tensors({"transformer.blocks.0.q": (torch.ones(2, 3), torch.ones(4, 2))}, "diffusers-new")
    save(tmp_path / "cat" / "a.safetensors", {**content, "diffusion_model.blocks.0.q.alpha": torch.tensor(8.0)})
    assert_close(lora_perf.load(tmp_path).scales, torch.full((1, 1), 4.0))


def test_kohya_alphas_of_convolutions_are_those_of_the_arguments(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    linear = "lora_unet_down_blocks_0_attentions_0_proj_in"
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    content = {
        f"{linear}.lora_down.weight": torch.ones(8, 3),
        f"{linear}.lora_up.weight": torch.ones(4, 8),
        f"{linear}.alpha": torch.tensor(8.0),
        f"{conv}.lora_down.weight": torch.ones(8, 3, 3, 3),
        f"{conv}.lora_up.weight": torch.ones(4, 8, 1, 1),
        f"{conv}.alpha": torch.tensor(4.0),
    }
    arguments = json.dumps({"conv_dim": "8", "conv_alpha": "4"})
    metadata = {"ss_network_alpha": "8.0", "ss_network_dim": "8", "ss_network_args": arguments}
    save(tmp_path / "cat" / "a.safetensors", content, metadata)
    assert_close(lora_perf.load(tmp_path).scales, torch.tensor([[1.0, 0.5]]))
    assert caplog.messages == []


def test_a_file_without_alphas_has_the_defaults_of_its_metadata(tmp_path: Path) -> None:
    kohya(tmp_path / "cat" / "a.safetensors", 0, {})
    save(tmp_path / "cat" / "b.safetensors", tensors(factors(), "kohya"), KOHYA)
    assert_close(lora_perf.load(tmp_path).scales, torch.tensor([[1.0], [2.0]]).expand(2, 3))


def test_a_scale_beyond_float32_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.safetensors", tensors(factors(), "peft"), {"lora_alpha": "1e300"})
    refuses(tmp_path, r"a scale of unet\..* that a float32 holds in .*a\.safetensors; found 5e\+299")


def test_a_configuration_above_the_adapters_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "cat" / "a.safetensors", tensors(factors(), "diffusers-new"))
    config(tmp_path, r=2, lora_alpha=16)
    lora_perf.load(tmp_path)
    assert caplog.messages == [f"{tmp_path}: 1 configuration beside no adapter left alone: adapter_config.json"]
