"""What a folder of adapter files says: a slow reader by safetensors, csv and json, the oracle of what `load` gives."""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from tests.io.adapters import DIALECTS, MODULES, names

LABEL = "category_label"
_CONFIG = "adapter_config.json"
OWN_FOLDER = frozenset(("adapter_model.safetensors", "pytorch_lora_weights.safetensors"))
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Refused(Exception):  # noqa: N818 - an answer of the oracle
    """The input says nothing that could be read in one way: the program has to refuse it."""


@dataclass(frozen=True)
class Row:
    """An adapter as the oracle reads it: its class, and the entries of dW = s B A of all modules in float64."""

    label: str
    update: np.ndarray


Rows = list[Row]


def read_folder(folder: Path) -> Rows:
    """What a folder of adapter files says: every file read by safetensors, its class by the rules of the README."""
    files = [path for path in data_files(folder) if path.name.lower().endswith(".safetensors")]
    if not files:
        raise Refused("no adapter")
    label_of = _labels(folder, files)
    return [Row(label_of[path], _update(path)) for path in files]


def data_files(folder: Path) -> Iterator[Path]:
    """Whatever is below a folder and not hidden, in the order of paths; folders whose name ends like a file too."""
    if not folder.is_dir():
        raise Refused("no folder")

    def stop(error: OSError) -> None:
        raise Refused(str(error))

    for inner, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        if len(Path(inner).parts) > 60:
            raise Refused("a loop of links")
        folders[:] = sorted(one for one in folders if one[0] not in "._" and one != "results")  # of an experiment
        for name in sorted(files + [one for one in folders if one.lower().endswith(".safetensors")]):
            if name[0] not in "._" and not name.endswith("_emb.safetensors"):  # which is no adapter
                yield Path(inner, name)


def _labels(folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    tables = [folder / name for name in ("metadata.csv", "metadata.jsonl") if os.path.lexists(folder / name)]
    if len(tables) > 1:
        raise Refused("two tables")
    if tables:
        return _by_table(tables[0], folder, files)
    described = {path: path.parent / "metadata.json" for path in files}
    if any(os.path.lexists(one) for one in described.values()):
        return {
            path: label(_json(one).get(LABEL, _json(one).get("label", _json(one).get("class"))))
            for path, one in described.items()
        }
    found = {}
    for path in files:
        above = path.relative_to(folder).parts[:-1]
        above = above[:-1] if path.name in OWN_FOLDER or os.path.lexists(path.with_name(_CONFIG)) else above
        if len(above) != 1:
            raise Refused(f"{path} is in no class")
        found[path] = above[0]
    return found


def _by_table(table: Path, folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    try:
        if not stat.S_ISREG(os.stat(table).st_mode):
            raise Refused(f"{table} is no file")
        text = table.read_bytes().decode("utf-8-sig")
        if table.suffix == ".csv":
            rows: list[Any] = list(csv.DictReader(text.splitlines(), strict=True))
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise Refused(str(error)) from None
    found = {}
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise Refused("a row without a file")
        path = folder / row["file_name"]
        if path in found:
            raise Refused("a file twice")
        found[path] = label(row.get("label"))
        if row.get("split", "train") not in ("train", "validation", "valid", "val", "dev", "test"):
            raise Refused("no such part")
    folded = {str(path).lower(): one for path, one in found.items()}  # as some file systems do
    if sorted(folded) != sorted(str(path).lower() for path in files) or len(folded) < len(found):
        raise Refused("files and rows differ")
    return {path: folded[str(path).lower()] for path in files}


def label(value: Any) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise Refused(f"label {value!r}")
    return str(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refused(f"{path} is no file")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Refused(str(error)) from None
    if not isinstance(found, dict):
        raise Refused("no object")
    return found


def _update(path: Path) -> np.ndarray:
    """dW of all modules of a file, by safetensors and the plain formula."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refused(f"{path} is no file")
        data = path.read_bytes()  # safetensors itself opens no file whose name is not UTF-8
        content = load(data)
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except Refused:
        raise
    except Exception as error:  # whatever a damaged file makes safetensors raise
        raise Refused(str(error)) from None
    used: set[str] = set()
    parts = []
    for module in sorted(MODULES):
        for dialect in DIALECTS:
            pair = names(module, dialect)
            if all(name in content for name in pair):
                break
        else:
            raise Refused(f"{module} is missing")
        down, up = (content[name] for name in pair)
        m, k = MODULES[module]
        if down.ndim != 2 or up.ndim != 2 or (up.shape[0], down.shape[1]) != (m, k) or up.shape[1] != down.shape[0]:
            raise Refused("shapes")
        if down.dtype not in FLOATS or up.dtype not in FLOATS:
            raise Refused("dtypes")
        used.update(pair)
        scale = _scale(path, content, metadata, pair, used, len(down))
        parts.append(scale * (up.float().double() @ down.float().double()).flatten().numpy())
    left = [name for name in content if name not in used and re.search("lora|alpha", name) and not name.endswith(".bias")]
    if left:
        raise Refused(f"left over: {left[0]}")
    update: np.ndarray = np.concatenate(parts)
    if not np.isfinite(update).all():
        raise Refused("NaN or infinite")
    return update


def _scale(
    path: Path, content: dict[str, Tensor], metadata: dict[str, str], pair: tuple[str, str], used: set[str], rank: int
) -> float:
    alpha = re.sub(r"\.lora_down\.weight$", ".alpha", pair[0])
    if alpha != pair[0] and alpha in content:
        used.add(alpha)
        if content[alpha].numel() != 1 or content[alpha].dtype not in FLOATS:
            raise Refused("alpha")
        return float(content[alpha].float()) / rank
    if "lora_alpha" in metadata:
        try:
            if int(metadata.get("rank", rank)) != rank:
                raise Refused("another rank is declared")
            return float(metadata["lora_alpha"]) / rank
        except ValueError:
            raise Refused("alpha") from None
    config = path.with_name(_CONFIG)
    if os.path.lexists(config):
        if sum(one.name.lower().endswith(".safetensors") for one in data_files(path.parent)) > 1:
            raise Refused("one description of several adapters")
        said = _json(config)
        if (
            not all(type(said.get(name)) in (int, float) and said[name] > 0 for name in ("r", "lora_alpha"))
            or said["r"] != rank
        ):
            raise Refused("r or lora_alpha")
        if not isinstance(said.get("use_rslora", False), bool) or said.get("rank_pattern"):
            raise Refused("use_rslora or rank_pattern")
        return float(said["lora_alpha"]) / (rank**0.5 if said.get("use_rslora", False) else rank)
    return 1.0


def never(_: Path) -> Rows:
    """The oracle of a form whose every change has to be noticed."""
    raise Refused("changed")
