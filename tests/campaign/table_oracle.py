"""What tables on disk say: a slow reader by pyarrow and `datasets`, the oracle of what `load` gives."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from tests.campaign.adapter_oracle import LABEL, Refused, Row, Rows, data_files, label
from tests.io.adapters import MODULES, names

_SHARD = re.compile(r"-(\d+)-of-(\d+)\.(parquet|arrow)$")
_FACTORS = frozenset(name for module in MODULES for name in names(module, "diffusers"))


def read_parquet(folder: Path) -> Rows:
    """What a folder of shards says: all of it, where it is one whole set."""
    known = {os.path.realpath(path): path for path in reversed(list(data_files(folder))) if path.suffix.lower() == ".parquet"}
    shards = sorted(known.values())  # a link to one of them is no other
    shards = [path for path in shards if path.name.startswith("train")] or shards  # whose names say of what split they are
    if not shards:
        raise Refused("no shard")
    _refuse_part_of_a_set(shards)
    found: Rows = []
    for path in shards:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise Refused("no file")
            table = pq.ParquetFile(path).read()
        except Refused:
            raise
        except Exception as error:  # whatever a damaged file makes pyarrow raise
            raise Refused(str(error)) from None
        if not any(name in _FACTORS for name in table.column_names) and not _SHARD.search(path.name):
            continue  # a table of something else
        hive = [part.split("=", 1)[1] for part in path.parts if part.startswith(f"{LABEL}=")]
        if hive and LABEL in table.column_names:
            raise Refused("a label twice")
        found += _of_table(table, hive[-1] if hive else None)
    return found


def _refuse_part_of_a_set(shards: Sequence[Path]) -> None:
    """Shards whose names say how many there are: all of them, once, and no others."""
    numbered = [(path.parent, match) for path in shards if (match := _SHARD.search(path.name))]
    totals = {(parent, match[2]) for parent, match in numbered}
    numbers = sorted(int(match[1]) for _, match in numbered)
    if numbered and (len(totals) > 1 or len(numbered) < len(shards) or numbers != list(range(int(numbered[0][1][2])))):
        raise Refused("no whole set of shards")


def read_saved(folder: Path) -> Rows:
    """What `save_to_disk` left: as `datasets` reads it, or all its Arrow files where what describes them is gone."""
    if not any(path.name == "state.json" for path in data_files(folder)):
        shards = [path for path in data_files(folder) if path.suffix == ".arrow"]
        _refuse_part_of_a_set(shards)
        return [row for path in shards for row in _of_table(_stream(path))]
    try:
        data = datasets.load_from_disk(folder)
    except Exception as error:  # whatever a damaged folder makes datasets raise
        raise Refused(str(error)) from None
    data = data["train"] if isinstance(data, datasets.DatasetDict) and "train" in data else data
    if isinstance(data, datasets.DatasetDict):
        raise Refused("no train split")
    try:
        data.data.table.validate(full=True)
        return _of_table(data.data.table)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise Refused(str(error)) from None


def _stream(path: Path) -> pa.Table:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refused("no file")
        with pa.ipc.open_stream(path.read_bytes()) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise Refused(str(error)) from None
    return table


def read_feather(path: Path) -> Rows:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Refused("no file")
        table = pyarrow.feather.read_table(path)
        table.validate(full=True)
    except Refused:
        raise
    except Exception as error:  # whatever a damaged file makes pyarrow raise
        raise Refused(str(error)) from None
    return _of_table(table)


def _of_table(table: pa.Table, hive: str | None = None) -> Rows:
    found = []
    labels = [hive] * len(table) if hive is not None else _values(table, LABEL)
    sides = [[_values(table, name) for name in names(module, "diffusers")] for module in sorted(MODULES)]
    if any(re.search("lora|alpha", name) for name in table.column_names if name not in _FACTORS):
        raise Refused("left over")
    for i, one in enumerate(labels):
        parts = []
        for (down, up), module in zip(sides, sorted(MODULES), strict=True):
            m, k = MODULES[module]
            try:
                a, b = (np.array(side[i], np.float64).astype(np.float32).astype(np.float64) for side in (down, up))
            except (TypeError, ValueError):
                raise Refused("no matrix") from None
            if a.shape != (2, k) or b.shape != (m, 2) or not (np.isfinite(a).all() and np.isfinite(b).all()):
                raise Refused("shape or numbers")
            parts.append((b @ a).flatten())
        found.append(Row(label(one), np.concatenate(parts)))
    return found


def _values(table: pa.Table, name: str) -> list[Any]:
    if table.column_names.count(name) != 1:
        raise Refused(f"no column {name}, or several")
    values: list[Any] = table.column(name).to_pylist()
    return values
