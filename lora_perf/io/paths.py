"""What stands at a path: a packed file, a saved data set, parquet shards or adapter files, found in one walk."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import counted
from lora_perf.core.zoo import Zoo
from lora_perf.io import store
from lora_perf.io.files.declared import refuse_logs, shards_of
from lora_perf.io.files.metadata import read_object
from lora_perf.io.files.openable import refuse_irregular, refuse_links, refuse_other_bytes
from lora_perf.io.files.strays import WRITTEN_HERE, read_if_own
from lora_perf.io.files.tree import ADAPTER, PARQUET, Tree, by_parts, parent, walk
from lora_perf.io.identity import identity
from lora_perf.io.members import text_of
from lora_perf.io.splits import refuse_choices, refuse_part, refuse_split

Kind = Literal["packed", "saved", "parquet", "arrow", "adapters"]
_KINDS: dict[str, Kind] = {ADAPTER: "packed", PARQUET: "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A source on disk: what it is, and which files are it.

    Attributes:
        path: as the user wrote it.
        kind: of what is there.
        folder: of the files; for a single file the one that it is in.
        files: those that are read, relative to `folder`: adapters, shards or tables with what describes them.
        tree: all that is there.
        parts: of `Zoo.split`, one a file, where the files are of several splits.
    """

    path: Path
    kind: Kind
    folder: str
    files: tuple[str, ...]
    tree: Tree = field(default_factory=Tree)
    parts: tuple[int | None, ...] | None = None

    @property
    def name(self) -> str:
        return text_of(self.path.stem if self.path.is_file() else os.path.basename(os.path.abspath(self.path)))

    def identity(self, *settings: str) -> str:
        """A hash of the files that are read, by path, size and time, and of the settings they are read with."""
        return identity(self.folder, self.files, settings)


def find(path: Path, split: str | None) -> Found:
    """What stands at a path, by one walk; nothing is read yet but what tells the kinds apart.

    Raises:
        LoraPerfError: nothing that can be read, or several things.
    """
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        raise no_zoo(path, "no file and no folder (a pipe, a socket or a device)")
    try:
        tree = walk(str(path))
    except OSError as error:
        raise no_zoo(path, f"a folder that cannot be read ({error.strerror}: {error.filename})") from None
    folder = str(path)
    if _is_saved(tree, folder):
        found = tuple(one for one in (*tree.saved, *tree.arrow))
        _refuse_two(path, tree, f"a saved data set ({_first(tree.saved)})", tree.parquet)
        refuse_irregular(path, found, "a file of a saved data set")
        return Found(path, "saved", folder, found, tree)
    refuse_logs(tree, folder)
    if tree.parquet and tree.adapters:
        _of_both(path, tree)
    if tree.parquet or tree.adapters:
        for one in (*tree.arrow, *tree.feather):
            tree.leave("file{s} of Arrow", one)
    if tree.parquet:
        return _shards(path, tree, split, "parquet", tree.parquet)
    if tree.adapters:
        return Found(path, "adapters", folder, tuple(_of_adapters(tree)), tree)
    if tables := _of_arrow(tree):
        return _shards(path, tree, split, "arrow", tables)
    raise _nothing(path, tree)


def _shards(path: Path, tree: Tree, split: str | None, kind: Kind, tables: Sequence[str]) -> Found:
    """The tables of the chosen splits; what is left alone is told."""
    shards = shards_of(tree, str(path), split, tables)
    files = tuple(one for one, _ in shards)
    refuse_irregular(path, files, "a parquet file" if kind == "parquet" else "a file of Arrow")
    refuse_links(path, files, tree)
    for line in tree.told():
        _log.warning("%s: %s", path, line)
    return Found(path, kind, str(path), files, tree, tuple(part for _, part in shards))


def _of_arrow(tree: Tree) -> list[str]:
    """Arrow's own files, without those in which `datasets` keeps what it computed of others; none of saved data sets."""
    if any(one.lower().endswith(("state.json", "dataset_dict.json")) for one in tree.saved):
        return []
    caches = [one for one in tree.arrow if one.rpartition("/")[2].startswith(("cache-", "tmp"))]
    for one in caches:
        tree.leave("file{s} of computed data (cache-*.arrow)", one)
    return sorted([*(one for one in tree.arrow if one not in caches), *tree.feather], key=by_parts)


def open_found(found: Found, label_column: str, split: str | None, skip_bad: bool) -> Zoo:
    """The zoo at a path.

    Raises:
        LoraPerfError: what the reader of this kind refuses.
    """
    if found.kind == "packed":
        refuse_choices(label_column, split, f"the packed file {found.path}")
        return store.open_packed(found.path)
    if found.kind == "saved":
        from lora_perf.io.tables.hf import zoo_of_data

        return zoo_of_data(_saved(found.path), label_column, split, found.name)
    if found.kind in ("parquet", "arrow") and found.path.is_file():
        refuse_part(split, str(found.path))
    if found.kind in ("parquet", "arrow"):
        from lora_perf.io.tables.ipc import open_ipc
        from lora_perf.io.tables.parquet import open_parquet

        reader = open_parquet if found.kind == "parquet" else open_ipc
        files = [Path(found.folder, one) for one in found.files]
        root = None if found.path.is_file() else found.path
        return reader(files, label_column=label_column, name=found.name, root=root, parts=found.parts)
    from lora_perf.io.files.folder import open_folder

    refuse_split(split, f"the adapter files in {found.path}")
    zoo = open_folder(found.folder, found.tree, label_column=label_column, name=found.name, skip_bad=skip_bad)
    if zoo is None:
        raise _nothing(found.path, found.tree)
    return zoo


def no_zoo(path: Path, found: str) -> LoraPerfError:
    return LoraPerfError(
        expected=f"a zoo at {path}: a packed file (.safetensors), a save_to_disk folder, parquet shards or adapter files",
        found=found,
        fix="give the path of one of these",
    )


def _file(path: Path) -> Found:
    ending = path.suffix.lower()
    kind: Kind | None = _KINDS.get(ending)
    if kind is None:
        raise no_zoo(path, f"a file of type {path.suffix or 'unknown'}")
    if kind != "packed":
        refuse_other_bytes(path.parent, [path.name])
    return Found(path, kind, str(path.parent), (path.name,))


def _of_adapters(tree: Tree) -> list[str]:
    """The files that adapters are read from, with those that say their scales and classes."""
    return [*tree.adapters, *tree.configs.values(), *tree.described.values(), *tree.tables]


def _is_saved(tree: Tree, folder: str) -> bool:
    """Whether a folder was written by `save_to_disk`; other programs write files of these names too."""
    names = {path.lower() for path in tree.saved if not parent(path)}
    if not names & {"dataset_dict.json", "state.json"}:
        return False
    beside = "dataset_info.json" in names or any(not parent(path) for path in tree.arrow)
    splits = {parent(path) for path in tree.saved if parent(path)}
    if beside or ("dataset_dict.json" in names and splits):
        return True
    if tree.adapters or tree.parquet:
        for name in sorted(names):
            tree.leave("file{s} with the names of those of a saved data set", name)
        return False
    try:
        return bool({"_data_files", "splits"} & read_object(os.path.join(folder, sorted(names)[-1])).keys())
    except LoraPerfError:
        return True  # whose reader says what is wrong


def _saved(path: Path) -> Any:
    import datasets

    try:
        if not (path / "dataset_dict.json").is_file():
            return _saved_part(path)
        splits = json.loads((path / "dataset_dict.json").read_text("utf-8"))["splits"]
        return datasets.DatasetDict({split: _saved_part(path / split) for split in splits})
    except Exception as error:  # datasets and pyarrow raise many kinds for a damaged folder
        raise no_zoo(
            path, f"a damaged save_to_disk folder ({type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]})"
        ) from None


def _saved_part(path: Path) -> Any:
    """A saved data set; one without rows has no file of Arrow, which `datasets` writes and cannot read."""
    import datasets

    state = path / "state.json"
    if state.is_file() and json.loads(state.read_text("utf-8"))["_data_files"] == []:
        features = datasets.DatasetInfo.from_directory(str(path)).features
        return datasets.Dataset(features.arrow_schema.empty_table())
    return datasets.load_from_disk(str(path))


def _refuse_two(path: Path, tree: Tree, other: str, parquet: list[str]) -> None:
    _without_own(path, tree)
    beside = [*tree.adapters, *parquet]
    if beside:
        raise LoraPerfError(
            expected=f"data of one kind in {path}",
            found=f"{other} and {counted(len(beside), 'other file')} of weights ({listed(beside, 3)})",
            fix="give the path of one of the two, or move one away",
        )


def _of_both(path: Path, tree: Tree) -> None:
    """Takes the adapters where the parquet files hold no weights, and the parquet files where nothing else is an adapter."""
    _without_own(path, tree)
    if not tree.adapters:
        return
    with_weights = [one for one in tree.parquet if _may_hold_weights(path / one)]
    if with_weights:
        raise LoraPerfError(
            expected=f"adapter files or parquet shards in {path}",
            found=f"both: {counted(len(tree.adapters), 'adapter')} ({listed(tree.adapters, 2)}) "
            f"and {counted(len(with_weights), 'table')} ({listed(with_weights, 2)})",
            fix="give the path of one of the two, or move one away",
        )
    for one in tree.parquet:
        tree.leave("parquet file{s} without columns of weights", one)
    tree.parquet = []


def _without_own(path: Path, tree: Tree) -> None:
    for one in [one for one in tree.adapters if read_if_own(os.path.join(path, one))]:
        tree.adapters.remove(one)
        tree.leave(WRITTEN_HERE, one)


def _may_hold_weights(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lora_perf.io.tables.columns import read_columns

    if not path.is_file():
        return True
    try:
        read_columns(pq.read_schema(path))
    except (pa.ArrowException, OSError):
        return True  # damaged, so that it may be data
    except LoraPerfError:
        return False
    return True


def _nothing(path: Path, tree: Tree) -> LoraPerfError:
    pickles = [f"{tree.pickles} pickles such as .bin and .pt, which are never unpickled"] if tree.pickles else []
    saved = sorted({parent(one) for one in tree.saved if one.lower().endswith("state.json")})
    inside = [f"saved data sets in {listed(saved, 3)}"] if saved else []
    told = listed([*pickles, *inside, *tree.told()])
    return no_zoo(
        path, f"a folder without state.json, dataset_dict.json, *.parquet or *.safetensors{f' ({told})' * bool(told)}"
    )


def _first(paths: list[str]) -> str:
    return min(paths, key=len)
