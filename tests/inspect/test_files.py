"""Faults of files: each one planted in a clean folder is found, named, and nothing else is."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

import lora_perf
from lora_perf.inspect import inspection
from tests.inspect.collections import MODULES, add, clean_folder, only_problem, problems, wide
from tests.io.adapters import DIALECTS, factors, raw, save, tensors
from tests.io.tables import forms as tables


def test_nothing_is_wrong_with_a_clean_folder(tmp_path: Path) -> None:
    found = inspection(clean_folder(tmp_path))
    assert (found.problems, found.adapters, found.modules, found.parameters) == ((), 8, 4, 4 * 2 * (24 + 40))
    assert found.classes == {"cat": 4, "dog": 4}
    assert found.files is not None
    assert (found.files.found, found.files.opened, found.files.dtypes) == (8, 8, {"F32": 8})


def test_dialects_and_dtypes_are_counted(tmp_path: Path) -> None:
    for i, dialect in enumerate(DIALECTS):
        made = wide(i) if i else {module: (a.half(), b.bfloat16()) for module, (a, b) in wide(i).items()}
        add(tmp_path, i, made, dialect=dialect)
    facts = inspection(tmp_path).files
    assert facts is not None
    assert facts.dialects == dict.fromkeys(DIALECTS, 1)
    assert facts.dtypes == {"F32": 4, "BF16 + F16": 1}


WIDE = tensors(wide(9))
UP = next(name for name in WIDE if "attn2.to_v.lora.up" in name)
PARTS = "parts of the update that are not read: unet.a.lora_down.0.weight"
DEFAULTS = {"ss_network_alpha": "8", "ss_network_dim": "2"}


@pytest.mark.parametrize(
    ("content", "metadata", "kind", "telling"),
    [
        (b"", None, "unreadable", "an empty file"),
        (b"abc", None, "unreadable", "3 bytes"),
        (b"\xff" * 64, None, "unreadable", "a header of"),
        (pickle.dumps({"a": 1}), None, "unreadable", "a pickle"),
        (b"\x08" + b"\0" * 7 + b"nonsense", None, "unreadable", "no JSON"),
        (safetensors.torch.save(WIDE)[:-4], None, "unreadable", "truncated"),
        *(
            ({f"lora_unet_mid_block.{name}": torch.ones(3)}, None, "unsupported", f"bad.safetensors: {kind}")
            for name, kind in (("hada_w1_a", "LoHa"), ("lokr_w1", "LoKr"), ("dora_scale", "DoRA"), ("oft_blocks", "OFT"))
        ),
        ({"lora_unet_mid_block.on_input": torch.ones(3)}, None, "unsupported", "bad.safetensors: IA3"),
        (
            {name: one for name, one in WIDE.items() if name != UP},
            None,
            "unpaired",
            r"1 without partner.*attn2\.to_v\.lora\.down\.weight",
        ),
        ({name: one for name, one in WIDE.items() if "down.weight" in name}, None, "unpaired", "4 without partner"),
        ({"unet.conv_in.weight": torch.ones(3, 3)}, None, "no adapter", ""),
        (WIDE | {"unet.a.lora_down.0.weight": torch.ones(2, 3)}, None, "unread", PARTS),
        (WIDE | {"unet.a.lora_scaling": torch.ones(1)}, None, "unread", "unet.a.lora_scaling"),
        (WIDE | {f"{next(iter(MODULES))}.scaling": torch.ones(1)}, None, "unread", f"{next(iter(MODULES))}.scaling"),
        (WIDE | {"unet.mid_block.b.alpha": torch.ones(1)}, None, "refused", "no scale for 4 of 4"),
        ({name: one.to(torch.int64) for name, one in WIDE.items()}, None, "storage", "weights of dtype I64"),
        (WIDE, DEFAULTS, "stated", "ss_network_alpha = 8 and ss_network_dim = 2 in the metadata, but names of"),
        ({}, {"format": "pt"}, "incomplete", r"no tensor \(DeepSpeed's ZeRO-3 leaves "),
    ],
)
def test_a_fault_of_a_file_is_named_with_its_kind(
    content: Any, metadata: dict[str, str] | None, kind: str, telling: str, tmp_path: Path
) -> None:
    path = clean_folder(tmp_path) / "cat" / "bad.safetensors"
    path.write_bytes(content if isinstance(content, bytes) else safetensors.torch.save(content, metadata))
    found = inspection(tmp_path)
    text = only_problem(found, kind)
    assert "cat/bad.safetensors" in text
    assert re.search(telling, text)
    assert found.adapters == 8 or kind not in ("unreadable", "unsupported", "no adapter", "incomplete")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("unet.a.scaling", (1,)),
        ("unet.mid_block.norm.bias", (3,)),
        ("base_model.model.classifier.modules_to_save.weight", (3, 3)),
    ],
)
def test_true_extras_are_notes(name: str, size: tuple[int, ...], tmp_path: Path) -> None:
    save(clean_folder(tmp_path) / "cat" / "more.safetensors", {**WIDE, name: torch.ones(size)})
    found = inspection(tmp_path)
    assert found.problems == ()
    assert any(name in note.text for note in found.notes)


def test_a_broken_link_and_a_folder_of_the_name_of_a_file_are_unreadable(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    (tmp_path / "cat" / "link.safetensors").symlink_to("nowhere")
    (tmp_path / "cat" / "folder.safetensors").mkdir()
    assert problems(tmp_path) == [
        ("unreadable", ("cat/folder.safetensors",)),
        ("unreadable", ("cat/link.safetensors",)),
    ]


def test_kinds_that_only_the_configuration_tells_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "cat" / "one"
    save(folder / "adapter_model.safetensors", tensors(factors(rank=2), "peft"))
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "use_dora": True}))
    assert only_problem(inspection(tmp_path), "unsupported") == "cat/one/adapter_model.safetensors: DoRA"


def test_float8_is_a_dtype_like_others(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    save(tmp_path / "cat" / "eight.safetensors", {name: side.to(torch.float8_e5m2) for name, side in tensors(wide(9)).items()})
    found = inspection(tmp_path)
    assert found.files is not None
    assert found.files.dtypes == {"F32": 8, "F8_E5M2": 1}


def test_shards_of_one_adapter_are_incomplete(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    save(tmp_path / "cat" / "adapter_model-00002-of-00002.safetensors", tensors(wide(9)))
    assert ": shard 2 of 2 of one" in only_problem(inspection(tmp_path), "incomplete")


def test_a_packed_zoo_among_adapters_is_left_alone_and_noted(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    lora_perf.pack(tmp_path, tmp_path / "cat" / "packed.safetensors")
    found = inspection(tmp_path)
    assert found.problems == ()
    assert ("left alone", "1 file that this package wrote left alone: cat/packed.safetensors") in [
        (note.kind, note.text) for note in found.notes
    ]


def test_missing_and_further_modules_are_named_with_their_files(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    fewer = dict(list(MODULES.items())[1:])
    paths = tuple(add(tmp_path, i, factors(i, 2, fewer)) for i in (90, 92))
    more = add(tmp_path, 94, factors(94, 2, MODULES | {"unet.mid_block.attn1.to_k": (24, 40)}))
    other = add(tmp_path, 96, factors(96, 2, dict.fromkeys(MODULES, (24, 41))))
    found = inspection(tmp_path)
    assert [(one.kind, one.adapters) for one in found.problems] == [
        ("modules", paths),
        ("modules", (more,)),
        ("modules", (other,)),
    ]
    texts = [one.text for one in found.problems]
    assert "1 of 4 modules missing (unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q)" in texts[0]
    assert "1 more (unet.mid_block.attn1.to_k)" in texts[1]
    assert "4 of 4 modules of another shape" in texts[2]
    assert (found.adapters, found.modules) == (12, 4)


def test_weights_of_adapters_with_other_modules_are_looked_at_too(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    fewer = factors(90, 2, dict(list(MODULES.items())[1:]))
    next(iter(fewer.values()))[0][0, 0] = torch.nan
    path = add(tmp_path, 90, fewer)
    assert problems(tmp_path) == [("modules", (path,)), ("non-finite", (path,))]


def test_ranks_that_differ_are_shown_by_kind_and_noted(tmp_path: Path) -> None:
    for i in range(6):
        add(tmp_path, i, wide(i, (2, 4)[i == 0]))
    found = inspection(tmp_path)
    assert all(one.ranks == {2: 5, 4: 1} for one in found.kinds)
    assert [one.kind for one in found.notes] == ["ranks"]
    assert found.problems == ()


def test_scales_are_those_of_alpha_over_rank(tmp_path: Path) -> None:
    for i in range(6):
        content = tensors(wide(i), "kohya")
        stems = {name.partition(".")[0] for name in content}
        save(tmp_path / "cat" / f"{i}.safetensors", content | {f"{stem}.alpha": torch.tensor(1.0 + i) for stem in stems})
    found = inspection(tmp_path)
    assert [one.scales for one in found.kinds] == [(0.5, 1.5, 3.0)] * 4
    assert found.files is not None
    assert found.files.alphas == 6


def test_an_assumed_scale_is_noted(tmp_path: Path) -> None:
    for i in range(3):
        add(tmp_path, i, wide(i), dialect="kohya", label="cat")
    (note,) = inspection(tmp_path).notes
    assert "3 files: no alpha: scale taken as 1 for 4 of 4 modules" in note.text


def test_pickles_are_left_alone_and_noted(tmp_path: Path) -> None:
    clean_folder(tmp_path)

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    (tmp_path / "cat" / "trap.bin").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "cat" / "trap.safetensors").write_bytes(pickle.dumps(Trap()))
    found = inspection(tmp_path)
    assert "pickle" in only_problem(found, "unreadable")
    assert [one.kind for one in found.notes] == ["pickles"]
    assert not (tmp_path / "sprung").exists()


def test_a_folder_without_classes_is_looked_at_all_the_same(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}.safetensors", tensors(wide(i)))
    found = inspection(tmp_path)
    assert not found.problems
    assert (found.adapters, found.classes) == (4, {})


def test_a_damaged_description_is_a_problem_of_its_adapter(tmp_path: Path) -> None:
    for i in range(4):
        save(tmp_path / f"{i}" / "a.safetensors", tensors(wide(i)))
        (tmp_path / f"{i}" / "metadata.json").write_text("{" if i == 2 else json.dumps({"label": "cat"}))
    found = inspection(tmp_path)
    assert [(one.kind, one.adapters) for one in found.problems] == [("labels", ("2/a.safetensors",))]
    assert (found.adapters, found.classes) == (4, {"cat": 3})


def test_a_class_too_small_to_split_is_noted(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    add(tmp_path, 90, wide(90), label="bird")
    (note,) = inspection(tmp_path).notes
    assert (note.kind, "1 class of fewer than 3" in note.text) == ("classes", True)


def test_a_single_file_needs_no_class(tmp_path: Path) -> None:
    path = save(tmp_path / "one.safetensors", tensors(wide(0)))
    found = inspection(path)
    assert (found.name, found.adapters, found.problems) == ("one.safetensors", 1, ())
    assert found.initial is not None
    assert found.initial.verdict == "unknown"


def test_a_folder_of_nothing_but_bad_files_is_a_report_too(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    raw(tmp_path / "cat" / "a.safetensors", b"{")
    found = inspection(tmp_path)
    assert (found.adapters, found.kinds, found.initial) == (0, (), None)
    only_problem(found, "unreadable")


def test_progress_counts_the_files_and_then_the_adapters(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    (tmp_path / "cat" / "bad.safetensors").write_bytes(b"")
    last: dict[str, tuple[int, int]] = {}
    inspection(tmp_path, progress=lambda stage, done, total: last.__setitem__(stage, (done, total)))
    assert last == {"open": (9, 9), "read": (8, 8)}


def test_a_folder_is_walked_once_whatever_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean_folder(tmp_path / "adapters")
    (tmp_path / "tables").mkdir()
    pq.write_table(tables.adapters(4), tmp_path / "tables" / "zoo.parquet")
    scanned: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scanned.append(str(path)) or scan(path))  # type: ignore[func-returns-value]
    for name in ("adapters", "tables"):
        inspection(tmp_path / name)
    assert len(scanned) == len(set(scanned))


def test_one_set_of_modules_under_several_wrappers_is_one_family(tmp_path: Path) -> None:
    for i, wrapper in enumerate(("transformer.", "diffusion_model.", "base_model.model.", "")):
        modules = {f"{wrapper}blocks.{block}.attn.q": (24, 40) for block in range(2)}
        save(tmp_path / "cat" / f"{i}.safetensors", tensors(factors(i, 2, modules), "diffusers-new"))
    found = inspection(tmp_path)
    assert (found.problems, found.adapters, found.modules) == ((), 4, 2)


def test_a_sparse_bias_is_an_extra(tmp_path: Path) -> None:
    clean_folder(tmp_path)
    save(tmp_path / "cat" / "bias.safetensors", {**tensors(wide(9)), "lora_unet_a.bias_values": torch.ones(2)})
    found = inspection(tmp_path)
    assert found.problems == ()
    assert any("left out, since a sparse bias is no product B A" in note.text for note in found.notes)
