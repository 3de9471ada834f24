"""Folders of adapter files: which modules an adapter must have, and what else its file may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import lora_perf
from tests.io.adapters import BLOCK, MODULES, assert_rows, factors, row, save, tensors, zoo_folder
from tests.io.checks import refuses

ONE, LAST = f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_v.lora.up.weight"
OTHER_MODULES = {
    "missing and further ones": (
        dict(list(MODULES.items())[1:]) | {f"{BLOCK}.attn1.to_k": (8, 6)},
        r"the modules of cat/0\.safetensors \(3\) in .*/dog/x\.safetensors; "
        r"found 1 more \(.*attn1\.to_k\), 1 missing \(.*attn1\.to_q\); load adapters of one set",
    ),
    "at most three are named": (
        MODULES | {f"{BLOCK}.attn1.x{i}": (2, 2) for i in range(5)},
        r"5 more \([^,]*x0, [^,]*x1, [^,]*x2, \.\.\. \(5 in all\)\)",
    ),
    "another shape": (MODULES | {ONE: (8, 7)}, r"found dW of other shapes \(.*attn1\.to_q of \(8, 7\), not \(8, 6\)\)"),
}


@pytest.mark.parametrize(("modules", "message"), OTHER_MODULES.values(), ids=OTHER_MODULES.keys())
def test_an_adapter_of_other_modules_is_refused(modules: dict[str, tuple[int, int]], message: str, tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "dog" / "x.safetensors", tensors(factors(modules=modules)))
    refuses(tmp_path, message)


def test_the_modules_of_most_adapters_are_those_of_the_zoo(tmp_path: Path) -> None:
    paths = zoo_folder(tmp_path)
    save(tmp_path / "a" / "first.safetensors", tensors(factors(modules={"other": (2, 2)})))
    zoo = lora_perf.load(tmp_path, skip_bad=True)
    assert_rows(zoo, torch.stack([row(path) for path in paths]))
    assert [one.path for one in zoo.skipped] == ["a/first.safetensors"]
    assert zoo.classes == ["cat", "dog"]


CONTENT = tensors(factors())
TYPES = rf"a tensor '{re.escape(LAST)}' of dtype F32, F16, BF16, F64, F8.* in .*a\.safetensors; found "
BAD = {
    "a side without partner": (
        {name: tensor for name, tensor in CONTENT.items() if name != LAST},
        r"a down and an up of each module in .*a\.safetensors; found 1 without partner: .*attn2\.to_v\.lora\.down\.weight;",
    ),
    "a kind that is no product": (CONTENT | {"a.hada_w1_a": torch.zeros(2, 2)}, r"in .*/cat/a\.safetensors; found LoHa"),
    "whole numbers": (CONTENT | {LAST: CONTENT[LAST].to(torch.int64)}, f"{TYPES}I64;"),
    "truth values": (CONTENT | {LAST: CONTENT[LAST].to(torch.bool)}, f"{TYPES}BOOL;"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD.keys())
def test_a_file_that_is_no_adapter_is_named(content: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    save(tmp_path / "cat" / "a.safetensors", content)
    refuses(tmp_path, message)


def test_tensors_that_are_no_lora_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i)) | {"emb_params": torch.zeros(3)})
    lora_perf.load(tmp_path)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "3 adapters hold tensors that are no LoRA and are left out: emb_params"
    ]
