"""Folders of adapter files: which modules an adapter must have, and what else its file may hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import lora_perf
from tests.io.adapters import BLOCK, MODULES, assert_rows, factors, row, save, tensors, zoo_folder
from tests.io.checks import refuses


def test_missing_and_further_modules_are_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    modules = dict(list(MODULES.items())[1:]) | {f"{BLOCK}.attn1.to_k": (8, 6)}
    save(tmp_path / "dog" / "x.safetensors", tensors(factors(modules=modules)))
    message = (
        r"the modules of cat/0\.safetensors \(3\) in .*/dog/x\.safetensors; "
        r"found 1 more \(.*attn1\.to_k\), 1 missing \(.*attn1\.to_q\); load adapters of one set"
    )
    refuses(tmp_path, message)


def test_at_most_three_modules_are_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    modules = MODULES | {f"{BLOCK}.attn1.x{i}": (2, 2) for i in range(5)}
    save(tmp_path / "cat" / "x.safetensors", tensors(factors(modules=modules)))
    refuses(tmp_path, r"5 more \([^,]*x0, [^,]*x1, [^,]*x2, \.\.\. \(5 in all\)\)")


def test_a_module_of_another_shape_is_named(tmp_path: Path) -> None:
    zoo_folder(tmp_path)
    save(tmp_path / "cat" / "x.safetensors", tensors(factors(modules=MODULES | {f"{BLOCK}.attn1.to_q": (8, 7)})))
    refuses(tmp_path, r"found dW of other shapes \(.*attn1\.to_q of \(8, 7\), not \(8, 6\)\)")


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
    refuses(tmp_path, message)


def test_a_kind_that_is_no_product_is_named_with_its_file(tmp_path: Path) -> None:
    content = tensors(factors()) | {"a.hada_w1_a": torch.zeros(2, 2)}
    save(tmp_path / "cat" / "a.safetensors", content)
    refuses(tmp_path, r"in .*/cat/a\.safetensors; found LoHa")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool], ids=str)
def test_weights_of_another_dtype_are_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    content = tensors(factors())
    name = f"{BLOCK}.attn2.to_v.lora.up.weight"
    content[name] = content[name].to(dtype)
    save(tmp_path / "cat" / "a.safetensors", content)
    message = rf"a tensor '{re.escape(name)}' of dtype F32, F16, BF16, F64, F8.* in .*a\.safetensors; found (I64|BOOL);"
    refuses(tmp_path, message)


def test_tensors_that_are_no_lora_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(3):
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i)) | {"emb_params": torch.zeros(3)})
    lora_perf.load(tmp_path)
    assert [record.message.split(": ", 1)[1] for record in caplog.records] == [
        "3 adapters hold tensors that are no LoRA and are left out: emb_params"
    ]
