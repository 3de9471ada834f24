"""Where zoos come from: one reader a file, `load` finds the right one."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_perf import store
from lora_perf.errors import LoraPerfError, listed
from lora_perf.sources.classes import DEFAULT_COLUMN
from lora_perf.sources.folder import open_folder
from lora_perf.sources.hub import ALIASES, fetch
from lora_perf.sources.tree import walk
from lora_perf.zoo import Zoo
from lora_perf.zoos import EMBEDDED

if TYPE_CHECKING:
    from typing import TypeAlias

    Source: TypeAlias = str | Path | Zoo | Any  # Any: datasets.Dataset or DatasetDict, whose library is imported on use

_SANITY_CHECK = "sanity_check_dataset"  # the folder that the original's command names
_SPLITS = frozenset({"train", "test", "validation", "valid", "val", "dev"})  # names of shards and folders that are parts
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+$")
_log = logging.getLogger(__name__)


def load(source: Source, *, label_column: str = DEFAULT_COLUMN, split: str = "train", skip_bad: bool = False) -> Zoo:
    """Opens a zoo; weights are read when they are used.

    Args:
        source: the name of an embedded zoo ("digits", "digits-shared"); a Hub alias ("1k", "10k", "50k", "100k", "small",
            "sanity-check") or id; the path of a packed file, of a `save_to_disk` folder, of a folder of parquet shards or of
            a folder of adapter files; a `datasets.Dataset`, or a `DatasetDict`, of which `split` is taken.
        label_column: the column of the labels, in data sets and in the metadata of adapter files.
        split: the part of a data set that has several; a folder of adapter files is taken whole, with its `Zoo.split`.
        skip_bad: leave adapter files out that cannot be used, with a warning each, and list them in `Zoo.skipped`.

    Raises:
        LoraPerfError: the source is none of these, or something in it is amiss (see the readers).
    """
    if isinstance(source, Zoo):
        return source
    if not isinstance(source, str | Path):
        return _from_datasets(source, label_column, split, type(source).__name__)
    name = str(source)
    if name in EMBEDDED:
        return store.open_packed(EMBEDDED[name])
    if name in ALIASES:
        return _from_datasets(fetch(ALIASES[name], split), label_column, split, name)
    path = Path(os.path.expanduser(source))  # as it is where there is no such user
    if name and os.path.exists(path):  # False for a path that cannot be
        return _from_path(path, label_column, split, skip_bad)
    if name == _SANITY_CHECK:
        from lora_perf.zoos import synthetic

        _log.warning("no folder %s here: a synthetic zoo of the same form stands in for it", name)
        return synthetic.generate(synthetic.SyntheticConfig(path, preset="sanity-check"))
    if isinstance(source, str) and _HUB_ID.match(name) and not name.startswith("."):
        return _from_datasets(fetch(name, split), label_column, split, name)
    raise LoraPerfError(
        expected=f"a path, a Hub id, an embedded zoo ({listed(EMBEDDED)}) or a Hub alias ({listed(ALIASES)})",
        found=f"{name!r}, which is none",
        fix="check the spelling of the path",
    )


def pack(
    source: Source, path: str | Path, *, label_column: str = DEFAULT_COLUMN, split: str = "train", skip_bad: bool = False
) -> Path:
    """Writes any source as a packed file, in a stream: memory does not grow with the zoo.

    Raises:
        LoraPerfError: what `load` refuses; a path that cannot be written.
    """
    target = Path(os.path.expanduser(path))
    store.write(load(source, label_column=label_column, split=split, skip_bad=skip_bad), target)
    return target


def _from_path(path: Path, label_column: str, split: str, skip_bad: bool) -> Zoo:
    if path.is_file():
        if path.suffix == ".safetensors":
            return store.open_packed(path)
        if path.suffix == ".parquet":
            return _parquet([path], label_column, path.stem)
        raise _no_zoo(path, f"a file of type {path.suffix or 'unknown'}")
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        import datasets

        try:
            data = datasets.load_from_disk(str(path))
        except Exception as error:  # datasets and pyarrow raise many kinds for a damaged folder
            raise _no_zoo(
                path,
                f"a damaged save_to_disk folder ({type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]})",
            ) from None
        return _from_datasets(data, label_column, split, path.name)
    try:
        tree = walk(str(path))
    except OSError as error:
        raise _no_zoo(path, f"a folder that cannot be read ({error.strerror}: {error.filename})") from None
    if tree.parquet:
        return _parquet(_of_split([path / shard for shard in tree.parquet], split, path), label_column, path.name)
    if tree.adapters:
        return open_folder(str(path), tree, label_column=label_column, name=path.name, skip_bad=skip_bad)
    pickles = f" ({tree.pickles} pickles such as .bin and .pt, which are never unpickled)" if tree.pickles else ""
    raise _no_zoo(path, f"a folder without state.json, dataset_dict.json, *.parquet or *.safetensors{pickles}")


def _of_split(shards: list[Path], split: str, folder: Path) -> list[Path]:
    """The shards of one split, which begins their names or is their folder; all where none names a split."""
    named: dict[str, list[Path]] = {}
    for shard in shards:
        for name in (re.split("[-_.]", shard.name)[0], shard.parent.name if shard.parent != folder else ""):
            if name in _SPLITS or name == split:
                named.setdefault(name, []).append(shard)
                break
    if named and split not in named:
        raise _no_split(str(folder), split, named)
    return named.get(split, shards)


def _no_split(name: str, split: str, splits: Iterable[str]) -> LoraPerfError:
    return LoraPerfError(
        expected=f"a split {split!r} in {name}", found=f"the splits {listed(splits)}", fix="choose with split=..."
    )


def _parquet(shards: list[Path], label_column: str, name: str) -> Zoo:
    from lora_perf.sources.parquet import open_parquet

    return open_parquet(shards, label_column=label_column, name=name)


def _no_zoo(path: Path, found: str) -> LoraPerfError:
    return LoraPerfError(
        expected=f"a zoo at {path}: a packed file (.safetensors), a save_to_disk folder, parquet shards or adapter files",
        found=found,
        fix="give the path of one of these",
    )


def _from_datasets(data: Any, label_column: str, split: str, name: str) -> Zoo:
    import datasets
    import numpy as np

    from lora_perf.sources.arrow import zoo_of_table

    if isinstance(data, datasets.DatasetDict):
        if split not in data:
            raise _no_split(name, split, data)
        data = data[split]
    if not isinstance(data, datasets.Dataset):
        raise LoraPerfError(
            expected="a path, a name, a Zoo, a datasets.Dataset or a datasets.DatasetDict",
            found=f"a {type(data).__name__}",
            fix="load or convert it first",
        )
    indices = None
    if data._indices is not None:  # the mapping that select, shuffle and train_test_split leave; no public name
        indices = data._indices.column(0).to_numpy().astype(np.int64)
    table = data.data.table
    feature = data.features.get(label_column)
    names = list(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    return zoo_of_table(table, indices=indices, label_column=label_column, name=name, class_names=names)
