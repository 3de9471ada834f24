"""Zoos in every form on disk: who writes them, and the oracle that says what stands there."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import torch
from torch import Tensor

import lora_perf
from tests.campaign.adapter_oracle import FLOATS, LABEL, Rows, never, read_folder
from tests.campaign.table_oracle import read_feather, read_parquet, read_saved
from tests.io.adapters import DIALECTS, MODULES, factors, names, save, tensors

CLASSES = ("cat", "dog", "fish")
COUNT = 12


@dataclass(frozen=True)
class Form:
    """One form of a zoo on disk.

    Attributes:
        write: makes it at a path.
        read: what stands there, whatever was done to it; raises Refused.
        is_file: a single file, not a folder.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Rows]
    is_file: bool = False


# Adapter files


def made(i: int, dialect: str = "diffusers", dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The tensors of adapter i, whose scale tells its class."""
    factor = 1 + i % 3
    return tensors({name: ((factor * down).to(dtype), up.to(dtype)) for name, (down, up) in factors(i, 2).items()}, dialect)


def _class_folders(folder: Path, dialect: str, dtype: torch.dtype = torch.float32) -> None:
    for i in range(COUNT):
        save(folder / CLASSES[i % 3] / f"{i:02}.safetensors", made(i, dialect, dtype))


def _mixed(folder: Path) -> None:
    kinds = list(FLOATS)
    for i in range(COUNT):
        save(folder / CLASSES[i % 3] / f"{i:02}.safetensors", made(i, DIALECTS[i % len(DIALECTS)], kinds[i % 4]))


def _kohya(folder: Path) -> None:
    for i in range(COUNT):
        content = made(i, "kohya")
        content |= {
            f"{names(module, 'kohya')[0].removesuffix('.lora_down.weight')}.alpha": torch.tensor(1.0 + i % 4)
            for module in MODULES
        }
        save(folder / CLASSES[i % 3] / f"{i:02}.safetensors", content, {"ss_network_dim": "2"})


def _metadata_keys(folder: Path) -> None:
    for i in range(COUNT):
        save(
            folder / CLASSES[i % 3] / f"{i:02}.safetensors",
            made(i, "diffusers-new"),
            {"lora_alpha": str(1 + i % 4), "rank": "2"},
        )


def _peft(folder: Path) -> None:
    for i in range(COUNT):
        home = folder / CLASSES[i % 3] / f"run{i:02}"
        save(home / "adapter_model.safetensors", made(i, "peft"))
        config = {
            "peft_type": "LORA",
            "r": 2,
            "lora_alpha": 1 + i % 4,
            "use_rslora": i % 2 == 0,
            "bias": "none",
            "rank_pattern": {},
        }
        (home / "adapter_config.json").write_text(json.dumps(config))


def _flat(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for i in range(COUNT):
        save(folder / f"{i:02}.safetensors", made(i))
        rows.append(
            {"file_name": f"{i:02}.safetensors", "label": CLASSES[i % 3], "split": ("train", "validation", "test")[i // 3 % 3]}
        )
    return rows


def _csv(folder: Path) -> None:
    rows = _flat(folder)
    with open(folder / "metadata.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _jsonl(folder: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in _flat(folder))
    (folder / "metadata.jsonl").write_text(text)


def _descriptions(folder: Path) -> None:
    for i in range(COUNT):
        home = folder / f"run{i:02}"
        save(home / "pytorch_lora_weights.safetensors", made(i))
        (home / "metadata.json").write_text(json.dumps({LABEL: CLASSES[i % 3], "num_images": i}))


# Tables


def _columns(rows: Sequence[int], nested: str) -> dict[str, Any]:
    """Weight columns of some adapters in one of the forms that Arrow has for matrices, and their labels."""
    found: dict[str, Any] = {}
    content = [made(i) for i in rows]
    for name in content[0]:
        values = [one[name].tolist() for one in content]
        r, k = content[0][name].shape
        kind = {
            "list": pa.list_(pa.list_(pa.float32())),
            "large": pa.large_list(pa.large_list(pa.float64())),
            "fixed": pa.list_(pa.list_(pa.float32(), k), r),
        }[nested]
        found[name] = pa.array(values, kind)
    found[LABEL] = pa.array([CLASSES[i % 3] for i in rows])
    return found


def _parquet(folder: Path, nested: str, name: str = "train-{:05}-of-00003.parquet") -> None:
    folder.mkdir()
    for shard in range(3):
        pq.write_table(pa.table(_columns(range(shard, COUNT, 3), nested)), folder / name.format(shard))


def _hive(folder: Path) -> None:
    for i, label in enumerate(CLASSES):
        place = folder / f"{LABEL}={label}"
        place.mkdir(parents=True)
        columns = _columns(range(i, COUNT, 3), "list")
        del columns[LABEL]
        pq.write_table(pa.table(columns), place / "part-0.parquet")


def _saved(folder: Path) -> None:
    datasets.Dataset(pa.table(_columns(range(COUNT), "list"))).save_to_disk(folder, num_shards=2)


def _saved_dict(folder: Path) -> None:
    datasets.DatasetDict({"train": datasets.Dataset(pa.table(_columns(range(COUNT), "list")))}).save_to_disk(folder)


def _feather(path: Path) -> None:
    pyarrow.feather.write_feather(pa.table(_columns(range(COUNT), "list")), path)


def _packed(path: Path) -> None:
    folder = path.with_name("to pack")
    _mixed(folder)
    lora_perf.pack(folder, path)
    for one in sorted(folder.rglob("*"), reverse=True):
        one.unlink() if one.is_file() else one.rmdir()
    folder.rmdir()


FORMS = (
    Form("class folders", lambda path: _class_folders(path, "diffusers"), read_folder),
    Form("class folders, older names", lambda path: _class_folders(path, "diffusers-old", torch.float16), read_folder),
    Form("class folders, mixed dialects and dtypes", _mixed, read_folder),
    Form("kohya with alphas", _kohya, read_folder),
    Form("metadata keys", _metadata_keys, read_folder),
    Form("PEFT folders", _peft, read_folder),
    Form("metadata.csv", _csv, read_folder),
    Form("metadata.jsonl", _jsonl, read_folder),
    Form("metadata.json beside each", _descriptions, read_folder),
    Form("parquet shards", lambda path: _parquet(path, "list"), read_parquet),
    Form("parquet, large lists of doubles", lambda path: _parquet(path, "large"), read_parquet),
    Form("parquet, fixed-size lists", lambda path: _parquet(path, "fixed", "part-{}.parquet"), read_parquet),
    Form("hive", _hive, read_parquet),
    Form("save_to_disk", _saved, read_saved),
    Form("save_to_disk of a DatasetDict", _saved_dict, read_saved),
    Form("feather", _feather, read_feather, is_file=True),
    Form("packed file", _packed, never, is_file=True),
)
