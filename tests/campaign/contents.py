"""Changes to what files say: JSON values, lines, numbers, shapes and columns; and files that are no data."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

from tests.campaign.mutations import MUTATIONS as MUTATIONS
from tests.campaign.mutations import NotHere, mutation

# JSON and text


_WRONG: list[Any] = [None, "text", -1, 1e300, [], {}, True, [1, [2]], {"a": None}, "", 0, 2.5, "\u0000", 10**30, float("nan")]


@mutation(weight=10)
def _json_value(path: Path, root: Path, random: Random) -> str:
    """Another value in a JSON file, in a line of JSON, or in the header of a safetensors file."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        (length,) = struct.unpack("<Q", content[:8])
        data, said = json.loads(content[8 : 8 + length]), ""
        said = _edit(data, random)
        text = json.dumps(data).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
        return said
    if path.suffix not in (".json", ".jsonl"):
        raise NotHere
    lines = content.decode().splitlines() if path.suffix == ".jsonl" else [content.decode()]
    place = random.randrange(len(lines))
    data = json.loads(lines[place])
    said = _edit(data, random)
    path.write_text("\n".join([*lines[:place], json.dumps(data), *lines[place + 1 :]]))
    return said


def _edit(data: Any, random: Random) -> str:
    """Replaces or removes a value somewhere inside."""
    here = ""
    while True:
        if isinstance(data, dict) and data:
            key: Any = random.choice(sorted(data))
        elif isinstance(data, list) and data:
            key = random.randrange(len(data))
        else:
            raise NotHere
        here += f".{key}"
        value = data[key]
        if isinstance(value, dict | list) and value and random.random() < 0.8:
            data = value
            continue
        if random.random() < 0.2:
            del data[key]
            return f"{here[-60:]} removed"
        new = random.choice(_WRONG)
        if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.5:
            new = value + 1 if isinstance(value, int) else value * 1.5 + 0.25
        if new == value and type(new) is type(value):
            raise NotHere
        data[key] = new
        return f"{here[-60:]} = {str(new)[:20]!r}"


@mutation()
def _line_twice(path: Path, root: Path, random: Random) -> str:
    if path.suffix not in (".csv", ".jsonl"):
        raise NotHere
    lines = path.read_text().splitlines(keepends=True)
    place = random.randrange(len(lines))
    path.write_text("".join([*lines[:place], lines[place], *lines[place:]]))
    return f"line {place} twice"


# Numbers and shapes


@mutation(weight=6)
def _tensor(path: Path, root: Path, random: Random) -> str:
    """NaN, infinities, zeros, another shape, dtype or name of a tensor."""
    if path.suffix != ".safetensors" or "rows" in (content := load_file(path)):
        raise NotHere
    name = random.choice(sorted(content))
    tensor = content[name].clone()
    what = random.choice(
        ("nan", "inf", "zero", "transposed", "flat", "wider", "int8", "renamed", "removed", "alpha", "extra", "3-D")
    )
    if what in ("nan", "inf"):
        tensor.view(-1)[random.randrange(tensor.numel())] = float(what)
    elif what == "zero":
        tensor.zero_()
    elif what == "transposed":
        tensor = tensor.T.contiguous() if tensor.ndim == 2 else tensor
    elif what == "flat":
        tensor = tensor.flatten()
    elif what == "wider":
        tensor = torch.cat([tensor, tensor], dim=-1) if tensor.ndim else tensor
    elif what == "int8":
        tensor = tensor.to(torch.int8)
    elif what == "3-D":
        tensor = tensor[None]
    content[name] = tensor
    if what == "renamed":
        content[name.replace("attn", "attention")] = content.pop(name)
    elif what == "removed":
        del content[name]
    elif what == "alpha":
        content["base_model.model.other.alpha"] = torch.tensor(3.0)
    elif what == "extra":
        content[name.replace("weight", "bias")] = torch.ones(3)
    save_file(content, path)
    return f"{what} in {name[-30:]}"


@mutation(weight=6)
def _column(path: Path, root: Path, random: Random) -> str:
    """Nulls, NaN, ragged rows, another type or name of a column of a parquet file."""
    if path.suffix != ".parquet":
        raise NotHere
    table = pq.read_table(path, partitioning=None)
    weights = [name for name in table.column_names if "lora" in name]
    name, row = random.choice(weights), random.randrange(len(table))
    values = table.column(name).to_pylist()
    kind = table.schema.field(name).type
    what = random.choice(
        (
            "null row",
            "null value",
            "nan",
            "ragged",
            "text",
            "removed",
            "renamed",
            "alpha",
            "null label",
            "number label",
            "twice",
            "empty",
        )
    )
    place = table.column_names.index(name)
    label = "category_label"
    if what in ("null row", "null value", "nan", "ragged"):
        values[row] = None if what == "null row" else values[row]
        if what == "null value":
            values[row][0][0] = None
        elif what == "nan":
            values[row][0][0] = float("nan")
        elif what == "ragged":
            values[row][0] = values[row][0][:-1]
        try:
            table = table.set_column(place, name, pa.array(values, kind))
        except pa.ArrowInvalid:
            raise NotHere from None
    elif what == "text":
        table = table.set_column(place, name, pa.array(["x"] * len(table)))
    elif what == "removed":
        table = table.remove_column(place)
    elif what == "renamed":
        table = table.rename_columns([one.replace("attn", "attention") if one == name else one for one in table.column_names])
    elif what == "alpha":
        table = table.append_column(name.replace(".lora.down.weight", ".alpha"), pa.array([1.0] * len(table)))
    elif what in ("null label", "number label"):
        if label not in table.column_names:
            raise NotHere
        labels = table.column(label).to_pylist()
        labels[row] = None
        column = pa.array(labels) if what == "null label" else pa.array(list(range(len(table))))
        table = table.set_column(table.column_names.index(label), label, column)
    elif what == "twice":
        table = pa.concat_tables([table, table])
    else:
        table = table.slice(0, 0)
    pq.write_table(table, path)
    return f"{what} in {name[-30:]}, row {row}"


# Strays


_STRAYS: dict[str, bytes] = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "README.md": b"# adapters\n",
    "_SUCCESS": b"",
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "optimizer.pt": b"\x80\x04.",
    "._00.safetensors": b"\0\5\x16\7",
    "_temporary/0/part-0.parquet": b"PAR1",
    ".ipynb_checkpoints/00-checkpoint.safetensors": b"",
}


@mutation(harmless=True, weight=5)
def _stray(path: Path, root: Path, random: Random) -> str:
    """A file that is no data."""
    name = random.choice(sorted(_STRAYS))
    place = (root if root.is_dir() else root.parent) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(_STRAYS[name])
    return name


_FOREIGN = ["state.json", "dataset_dict.json", "log.parquet", "adapter_config.json", "metadata.csv", "x_emb.safetensors"]
_FOREIGN += ["results", "_delta_log"]


@mutation(weight=5)
def _foreign(path: Path, root: Path, random: Random) -> str:
    """A file that says something, but not what is meant."""
    if not root.is_dir():
        raise NotHere
    what = random.choice(_FOREIGN)
    place = root / what
    if what == "_delta_log":
        place.mkdir()
        (place / "00000000000000000000.json").write_text("{}\n")
    elif what == "log.parquet":
        pq.write_table(pa.table({"step": [1, 2], "loss": [0.5, 0.4]}), place)
    elif what == "x_emb.safetensors":
        save_file({"clip_l": torch.ones(2, 4)}, path.with_name(what))
    elif what == "results":
        place.mkdir()
        save_file({"values": torch.ones(4, 4)}, place / "stats-0123.safetensors")
    elif what == "metadata.csv" and not os.path.lexists(place):
        place.write_text("name,other\nx,y\n")
    else:
        place.write_text(
            '{"r": 7, "lora_alpha": 3, "peft_type": "LORA"}' if what == "adapter_config.json" else '{"global_step": 3}'
        )
    return what


@mutation(harmless=True, weight=3)
def _nothing(path: Path, root: Path, random: Random) -> str:
    return "unchanged"
