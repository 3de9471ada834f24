"""Zoos of objects in memory equal those of the same adapters in files and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import lora_perf
from tests.io.checks import refuses

N = 6
CLASSES = ["cat", "dog"]
DOWN, UP = "unet.a.attn1.to_q.lora.down.weight", "unet.a.attn1.to_q.lora.up.weight"


def peft(i: int) -> dict[str, Tensor]:
    torch.manual_seed(i)
    return {"base_model.model.a.q.lora_A.weight": torch.randn(2, 5), "base_model.model.a.q.lora_B.weight": torch.randn(4, 2)}


def kohya(i: int) -> dict[str, Tensor]:
    torch.manual_seed(i)
    down, up = torch.randn(3, 5).half(), torch.randn(4, 3).bfloat16()
    names = ("lora_down.weight", "lora_up.weight", "alpha")
    return {f"lora_unet_a_q.{name}": tensor for name, tensor in zip(names, (down, up, torch.tensor(1.5)), strict=True)}


def mlx(i: int) -> dict[str, Tensor]:
    torch.manual_seed(i)
    return {"a.q.lora_a": torch.randn(5, 2), "a.q.lora_b": torch.randn(2, 4)}


def updates(zoo: lora_perf.Zoo) -> Tensor:
    return torch.stack([next(iter(one.modules.values())).update for one in zoo])


@pytest.mark.parametrize("make", [peft, kohya, mlx, lambda i: (peft, kohya)[i % 2](i)], ids=["peft", "kohya", "mlx", "mixed"])
def test_state_dicts_are_what_their_files_are(make: Any, tmp_path: Path) -> None:
    for i in range(N):
        folder = tmp_path / CLASSES[i // 3]
        folder.mkdir(exist_ok=True)
        save_file(make(i), folder / f"{i}.safetensors")
    files = lora_perf.load(tmp_path)
    zoo = lora_perf.load([{**make(i), "label": CLASSES[i // 3]} for i in range(N)])
    assert zoo.layout == files.layout
    assert torch.equal(updates(zoo), updates(files))
    assert torch.equal(zoo.required_labels, files.required_labels)
    assert zoo.classes == files.classes
    assert zoo.fingerprint == files.fingerprint


def test_what_is_no_tensor_is_metadata_and_keys_are_names() -> None:
    zoo = lora_perf.load({f"run {i}": {**peft(i), "steps": 100 * i, "base": "sd"} for i in range(3)})
    assert zoo.names == ["run 0", "run 1", "run 2"]
    assert dict(zoo.metadata) == {"steps": [0, 100, 200], "base": ["sd"] * 3}
    assert zoo.labels is None


def test_alphas_may_be_plain_numbers_and_tensors_those_of_numpy() -> None:
    plain = {name: tensor.float().numpy() for name, tensor in kohya(0).items()} | {"lora_unet_a_q.alpha": 1.5}
    zoo = lora_perf.load([plain])
    assert zoo.scales.tolist() == [[0.5]]
    torch.testing.assert_close(updates(zoo), updates(lora_perf.load([kohya(0)])), rtol=0, atol=0)


def test_tensors_that_share_memory_or_need_gradients_are_taken() -> None:
    whole = torch.randn(9, 5, requires_grad=True)
    zoo = lora_perf.load([{"a.q.lora_A.weight": whole[:2], "a.q.lora_B.weight": whole[2:6, :2]}])
    assert torch.equal(zoo.layer(zoo.layout.layers[0].name)[0], whole[:2].detach())


def test_a_split_and_a_label_of_another_name_are_read() -> None:
    parts = ["train", "train", "test"]
    zoo = lora_perf.load([{**peft(i), "kind": i, "split": parts[i]} for i in range(3)], label_column="kind")
    assert (zoo.classes, zoo.split.tolist()) == (["0", "1", "2"], [0, 0, 2])  # type: ignore[union-attr]


def test_state_dicts_of_other_modules_are_refused_by_name() -> None:
    other = {"b.lora_A.weight": torch.ones(2, 5), "b.lora_B.weight": torch.ones(4, 2)}
    refuses([peft(0), peft(1), other], r"the modules of state dict 0 \(1\) in state dict 2; found 1 more \(b\)")


def test_what_is_no_adapter_is_refused_by_name() -> None:
    refuses([peft(0), {"weight": torch.ones(2, 2)}], r"factors of a LoRA .* in state dict 1; found none among weight")


def test_labels_of_some_only_and_a_column_that_is_not_there_are_refused() -> None:
    refuses([{**peft(0), "label": "cat"}, peft(1)], r"a label, text or whole number, in column 'label' for state dict 1")
    refuses([{**peft(0), "steps": 1}], r"expected a label 'kind' in each state dict; found steps; add it", label_column="kind")


def columns() -> dict[str, Any]:
    torch.manual_seed(0)
    return {DOWN: torch.randn(N, 2, 5), UP: torch.randn(N, 4, 2), "category_label": CLASSES * 3, "num_images": np.arange(N)}


def frame() -> pd.DataFrame:
    return pd.DataFrame({name: list(values.numpy()) if name in (DOWN, UP) else values for name, values in columns().items()})


SHAPED: dict[str, Any] = {
    "tensors": columns,
    "arrays": lambda: {name: values.numpy() if isinstance(values, Tensor) else values for name, values in columns().items()},
    "lists of tensors": lambda: {n: list(v) if isinstance(v, Tensor) else v for n, v in columns().items()},
    "bfloat16": lambda: {n: v.bfloat16() if isinstance(v, Tensor) else v for n, v in columns().items()},
    "frame": frame,
}


@pytest.mark.parametrize("kind", SHAPED)
def test_columns_are_a_table(kind: str) -> None:
    zoo = lora_perf.load(SHAPED[kind]())
    for name in (DOWN, UP):
        wanted = columns()[name]
        assert torch.equal(zoo.layer(name), wanted.bfloat16().float() if kind == "bfloat16" else wanted)
    assert (zoo.classes, zoo.required_labels.tolist()) == (CLASSES, [0, 1] * 3)
    assert dict(zoo.metadata) == {"num_images": list(range(N))}


def test_columns_of_different_lengths_are_refused() -> None:
    refuses(columns() | {"num_images": np.arange(5)}, r"columns of the same number of adapters; found 6 in .*, 5 in num_images")


def table(**others: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    return {DOWN: torch.randn(3, 2, 5), UP: torch.randn(3, 4, 2), **others}


def data_frame(**others: Any) -> pd.DataFrame:
    return pd.DataFrame({name: list(values.numpy()) for name, values in table().items()} | others)


def test_a_split_counts_without_labels_and_columns_of_names_are_names() -> None:
    zoo = lora_perf.load([{**peft(i), "split": part, "name": f"lora {i}"} for i, part in enumerate(("train", "test"))])
    assert (zoo.labels, zoo.names) == (None, ["lora 0", "lora 1"])
    assert zoo.split is not None
    assert zoo.split.tolist() == [0, 2]
    refuses([{**peft(0), "split": "later"}], "train, validation or test in column 'split'.*found 'later'")


@pytest.mark.parametrize("kind", [np.int64, torch.tensor, np.array, int])
def test_the_label_of_a_state_dict_may_be_a_number_of_any_library(kind: Any) -> None:
    assert lora_perf.load([{**peft(i), "label": kind(i)} for i in (4, 2)]).classes == ["2", "4"]


def test_an_index_of_a_name_is_a_column() -> None:
    assert lora_perf.load(data_frame(id=["p", "q", "r"]).set_index("id")[1:]).names == ["q", "r"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (peft(0), "a state dict of one adapter goes into a list"),
        (
            [{name: one.to("meta") for name, one in peft(0).items()}],
            "tensors with values in state dict 0; found one on the device",
        ),
        (table(note=[1, "a", None]), "values of one plain type in the column 'note'"),
        (table(note=[object()] * 3), "values of one plain type in the column 'note'"),
        (data_frame(category_label=["a", None, "b"]), "in column 'category_label'; found 1 missing, the first in row 1"),
        (data_frame()[:0], "at least one adapter; found a DataFrame without rows"),
        (pd.concat([data_frame(k=1), data_frame()[[]].assign(k=2)], axis=1), "columns of different names; found k twice"),
        ([], "state dicts in a list or by name; found an empty list"),
        (None, "state dicts in a list or by name; found a NoneType"),
    ],
)
def test_what_is_no_zoo_in_memory_is_told_in_one_line(source: Any, told: str) -> None:
    refuses(source, told)
