"""What stands at a path: a packed file, a saved data set, parquet shards or adapter files, found in one walk."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import counted
from lora_perf.io import store
from lora_perf.io.files.declared import refuse_logs, shards_of
from lora_perf.io.files.metadata import read_object
from lora_perf.io.files.strays import WRITTEN_HERE, read_if_own
from lora_perf.io.files.tree import ADAPTER, PARQUET, Tree, by_parts, parent, walk
from lora_perf.io.identity import identity
from lora_perf.io.members import text_of
from lora_perf.io.readers import Reader

Kind = Literal["packed", "saved", "parquet", "arrow", "adapters", "repositories", "reader"]
_KINDS: dict[str, Kind] = {
    ADAPTER: "packed", PARQUET: "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".txt": "repositories"
}  # fmt: skip
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
        reader: of a user's, which opens it.
        address: where the source is one, and no path.
    """

    path: Path
    kind: Kind
    folder: str
    files: tuple[str, ...]
    tree: Tree = field(default_factory=Tree)
    parts: tuple[int | None, ...] | None = None
    reader: Reader | None = None
    address: str | None = None

    @property
    def place(self) -> Path | str:
        """What a user's reader gets."""
        return self.path if self.address is None else self.address

    @property
    def name(self) -> str:
        return text_of(self.path.stem if self.path.is_file() else os.path.basename(os.path.abspath(self.path)))

    def identity(self, *settings: str) -> str:
        """A hash of the files that are read, by path, size and time, of the settings they are read with, and of the reader."""
        own = [] if self.reader is None else [self.reader.version, str(self.place)]
        return identity(self.folder, self.files, [*settings, *own])


def find(path: Path, split: str | None) -> Found:
    """What stands at a path, by one walk; nothing is read yet but what tells the kinds apart."""
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
        found = (*tree.saved, *tree.arrow)
        _refuse_two(path, tree, f"a saved data set ({min(tree.saved, key=len)})")
        _refuse_irregular(path, found, "a file of a saved data set")
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
        told = (*tree.configs.values(), *tree.described.values(), *tree.tables)  # of their scales and classes
        return Found(path, "adapters", folder, (*tree.adapters, *told), tree)
    if tables := _of_arrow(tree):
        return _shards(path, tree, split, "arrow", tables)
    raise nothing_in(path, tree)


def of_reader(own: Reader, source: str) -> Found:
    """A source that a user's reader opens: all files at its path, or its address."""
    path = Path(os.path.expanduser(source))
    if own.scheme is not None:
        return Found(Path(source.rstrip("/")), "reader", "", (), reader=own, address=source)
    if path.is_file():
        return Found(path, "reader", str(path.parent), (path.name,), reader=own)
    files = [os.path.relpath(os.path.join(inner, name), path) for inner, _, names in os.walk(path) for name in names]
    return Found(path, "reader", str(path), tuple(sorted(files)), reader=own)


def _shards(path: Path, tree: Tree, split: str | None, kind: Kind, tables: Sequence[str]) -> Found:
    """The tables of the chosen splits; what is left alone is told."""
    shards = shards_of(tree, str(path), split, tables)
    files = tuple(one for one, _ in shards)
    _refuse_irregular(path, files, "a parquet file" if kind == "parquet" else "a file of Arrow")
    _refuse_links(path, files, tree)
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


def no_zoo(path: Path, found: str) -> LoraPerfError:
    return LoraPerfError(
        expected=f"a zoo at {path}: a packed file (.safetensors), a save_to_disk folder, parquet shards or adapter files",
        found=found,
        fix="give the path of one of these",
    )


def _file(path: Path) -> Found:
    ending = path.suffix.lower()
    kind: Kind | None = _KINDS.get(ending) or ("packed" if store.is_packed(path) else None)
    if kind is None:
        raise no_zoo(path, f"a file of type {path.suffix or 'unknown'}")
    if kind != "packed":
        _refuse_other_bytes(path.parent, [path.name])
    return Found(path, kind, str(path.parent), (path.name,))


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


def _refuse_two(path: Path, tree: Tree, other: str) -> None:
    _without_own(path, tree)
    beside = [*tree.adapters, *tree.parquet]
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


def nothing_in(path: Path, tree: Tree) -> LoraPerfError:
    pickles = [f"{tree.pickles} pickles such as .bin and .pt, which are never unpickled"] if tree.pickles else []
    saved = sorted({parent(one) for one in tree.saved if one.lower().endswith("state.json")})
    inside = [f"saved data sets in {listed(saved, 3)}"] if saved else []
    told = listed([*pickles, *inside, *tree.told()])
    return no_zoo(
        path, f"a folder without state.json, dataset_dict.json, *.parquet or *.safetensors{f' ({told})' * bool(told)}"
    )


def _refuse_irregular(path: Path, files: Sequence[str], what: str) -> None:
    """Refuses what would make its reader wait, or lead nowhere."""
    _refuse_other_bytes(path, files)
    wrong = [one for one in files if not (path / one).is_file()]
    if wrong:
        found = "a broken link" if (path / wrong[0]).is_symlink() else "no regular file"
        raise LoraPerfError(expected=f"{what} at {path / wrong[0]}", found=found, fix="write or fetch it again, or remove it")


def _refuse_other_bytes(path: Path, files: Sequence[str]) -> None:
    """Refuses paths that are no UTF-8, which Arrow cannot open."""
    for one in files:
        whole = str(path / one)
        if not whole.isascii() and whole.encode("utf-8", "replace") != os.fsencode(whole):
            raise LoraPerfError(
                expected="paths in UTF-8, since Arrow opens no others", found=whole, fix="rename the file or its folder"
            )


def _refuse_links(path: Path, files: Sequence[str], tree: Tree) -> None:
    """Refuses a link to a file that is read too."""
    links = [one for one in files if one in tree.links]
    if not links:
        return
    nodes = {_node(path / one): one for one in files if one not in tree.links}
    for one in links:
        node = _node(path / one)
        if node in nodes:
            raise LoraPerfError(
                expected=f"each shard once in {path}", found=f"{one}, a link to {nodes[node]}", fix="remove the link"
            )
        nodes[node] = one


def _node(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
