"""Opens what was found at a path: one way a kind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lora_perf.core.errors import LoraPerfError, first_line
from lora_perf.core.zoo import Zoo
from lora_perf.io import store
from lora_perf.io.dialects.names import parse_part
from lora_perf.io.files.strays import is_own
from lora_perf.io.files.tree import ADAPTER, PEFT_CONFIG, Tree
from lora_perf.io.headers import read_header
from lora_perf.io.members import DEFAULT_COLUMN
from lora_perf.io.paths import Found, no_zoo, nothing_in
from lora_perf.io.splits import refuse_choices, refuse_part, refuse_split


def open_found(found: Found, label_column: str | None, split: str | None, skip_bad: bool) -> Zoo:
    """The zoo at a path."""
    if found.kind == "packed":
        return _of_packed(found, label_column, split, skip_bad)
    if found.kind == "adapters":
        refuse_split(split, f"the adapter files in {found.path}")
        return _of_adapters(found, found.tree, label_column, skip_bad)
    if found.kind == "repositories":
        from lora_perf.io.repositories import open_list, read_list

        refuse_split(split, f"the list {found.path}")
        return open_list(read_list(found.path), label_column=label_column, skip_bad=skip_bad, name=found.name)
    if found.kind != "saved":
        return _of_tables(found, label_column, split)
    from lora_perf.io.tables.hf import zoo_of_data

    return zoo_of_data(saved(found.path), label_column, split, found.name)


def _of_tables(found: Found, label_column: str | None, split: str | None) -> Zoo:
    from lora_perf.io.tables.ipc import open_ipc
    from lora_perf.io.tables.parquet import open_parquet

    root = None if found.path.is_file() else found.path
    if root is None:
        refuse_part(split, str(found.path))
    files = [Path(found.folder, one) for one in found.files]
    way = open_parquet if found.kind == "parquet" else open_ipc
    return way(files, label_column=label_column, name=found.name, root=root, parts=found.parts)


def _of_packed(found: Found, label_column: str | None, split: str | None, skip_bad: bool) -> Zoo:
    """A packed file; or one adapter, which has no label."""
    try:
        zoo = store.open_packed(found.path)
    except LoraPerfError:
        if not _is_adapter(found.path):
            raise
        refuse_split(split, f"the adapter {found.path}")
        return _of_adapters(found, alone(found.path), None if label_column == DEFAULT_COLUMN else label_column, skip_bad)
    refuse_choices(label_column, split, f"the packed file {found.path}")
    return zoo


def _of_adapters(found: Found, tree: Tree, label_column: str | None, skip_bad: bool) -> Zoo:
    from lora_perf.io.files.folder import open_folder

    zoo = open_folder(found.folder, tree, label_column=label_column, name=found.name, skip_bad=skip_bad)
    if zoo is None:
        raise nothing_in(found.path, tree)
    return zoo


def _is_adapter(path: Path) -> bool:
    try:
        header = read_header(path)
    except LoraPerfError:
        return False
    return not is_own(header) and any(map(parse_part, header.entries))


def alone(path: Path) -> Tree:
    """The tree of one adapter file, with the configuration beside it."""
    beside = sorted(os.listdir(path.parent))
    configs = [name for name in beside if name.lower() == PEFT_CONFIG]
    others = [name for name in beside if name != path.name and name.lower().endswith(ADAPTER)]
    return Tree(adapters=[path.name], configs={"": configs[-1]} if configs else {}, others={"": len(others)})


def saved(path: Path) -> Any:
    import datasets

    try:
        if not (path / "dataset_dict.json").is_file():
            return _saved_part(path)
        splits = json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]
        return datasets.DatasetDict({split: _saved_part(path / split) for split in splits})
    except Exception as error:  # datasets and pyarrow raise many kinds for a damaged folder
        said = f"{type(error).__name__}: {first_line(error, 'no message')}"
        raise no_zoo(path, f"a damaged save_to_disk folder ({said})") from None


def _saved_part(path: Path) -> Any:
    """A saved data set; one without rows has no file of Arrow, which `datasets` writes and cannot read."""
    import datasets

    state = path / "state.json"
    if state.is_file() and json.loads(state.read_text("utf-8"))["_data_files"] == []:
        features = datasets.DatasetInfo.from_directory(str(path)).features
        return datasets.Dataset(features.arrow_schema.empty_table())
    return datasets.load_from_disk(str(path))
