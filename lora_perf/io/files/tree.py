"""What a folder holds: adapter files, parquet shards, descriptions and pickles, found in one walk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from lora_perf.core.errors import listed
from lora_perf.io.files.strays import SUSPECT, stray

ADAPTER = ".safetensors"
PARQUET = ".parquet"
FEATHER = (".feather", ".ipc")
PEFT_CONFIG = "adapter_config.json"
DESCRIPTION = "metadata.json"
TABLES = ("metadata.csv", "metadata.jsonl")
_TABLES = (".tsv", ".xlsx", ".xls", ".ods", ".yaml", ".yml", ".txt", ".json5", ".jsonl.gz", ".csv.gz")
SAVED = ("dataset_dict.json", "state.json", "dataset_info.json")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
_UNFINISHED = (".part", ".partial", ".crdownload", ".incomplete", ".download", ".tmp", "~")
# Tools keep their own files in these; to speak of them each time would hide what matters.
_TOOLS = frozenset(
    {".cache", ".git", ".github", ".huggingface", ".ipynb_checkpoints", ".locks", ".no_exist", ".vscode", ".idea"}
)
# Where systems keep what was deleted, and what they know of files.
_SYSTEM = frozenset(
    ("$recycle.bin", "recycler", "#recycle", "@recycle", "@eadir", "#snapshot", "lost+found", "system volume information")
)
# Tables of which a log, not the folder, says which files count.
_LOGS = {"_delta_log": "Delta Lake", "_spark_metadata": "Spark's streams", ".hoodie": "Apache Hudi"}
_ICEBERG = ".metadata.json"


@dataclass(slots=True)
class Tree:
    """The files below a folder, as relative paths with "/" in the order of their parts.

    Names that begin with "_" or "." are no data, as Spark, Hive and Arrow have it. Endings count in any case.

    Attributes:
        adapters: everything whose name ends in .safetensors, but for what is known to be none (see `strays`).
        parquet: parquet files.
        arrow: Arrow's own files, as `save_to_disk` writes them too.
        feather: the same under other endings.
        configs: folders with an adapter_config.json ("" is the folder itself), each with the path of it.
        described: folders with a metadata.json, likewise.
        tables: the metadata.csv and metadata.jsonl.
        saved: the descriptions that `save_to_disk` writes, and others of these names.
        logs: (path, kind) of logs that say which files of a table count.
        links: files of adapters and tables that are symbolic links.
        pickles: how many files there are of kinds that are never opened.
        left: what was left alone though it looks like data, by its kind ("file{s} of embeddings").
        others: how many further adapters lie in a folder, where only some were asked for.
        headers: what headers and configurations say by name, each with a value that some file has, once they are read.
    """

    adapters: list[str] = field(default_factory=list)
    parquet: list[str] = field(default_factory=list)
    arrow: list[str] = field(default_factory=list)
    feather: list[str] = field(default_factory=list)
    configs: dict[str, str] = field(default_factory=dict)
    described: dict[str, str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    links: set[str] = field(default_factory=set)
    pickles: int = 0
    left: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)

    def leave(self, kind: str, path: str) -> None:
        """Notes what is left alone: nothing is dropped without a word."""
        self.left.setdefault(kind, []).append(path)

    def told(self) -> list[str]:
        """What was left alone, a line a kind."""
        return [
            f"{len(paths):,} {kind.format(s='s' * (len(paths) != 1))} left alone: {listed(sorted(paths), 3)}"
            for kind, paths in self.left.items()
        ]


def walk(folder: str) -> Tree:
    """The tree of a folder. Symbolic links are followed, but no folder is entered twice.

    Cost: one system call a few dozen files; with links to folders one more a folder.

    Raises:
        OSError: a folder cannot be read.
    """
    tree = Tree()
    linked: list[str] = []
    entered = _enter(folder, [""], tree, linked)
    linked.sort(key=by_parts)  # which of several links to one folder is followed depends on no file system
    seen: set[tuple[int, int]] = set()
    while linked:
        if not seen:
            seen = {_identity(os.path.join(folder, inner)) for inner in entered}
        inner = linked.pop(0)
        identity = _identity(os.path.join(folder, inner))
        if identity in seen:
            tree.leave("link{s} to folders that are read already", inner)
            continue
        further = _enter(folder, [inner], tree, linked)
        entered += further
        seen |= {_identity(os.path.join(folder, one)) for one in further}
    named = [inner for inner in entered if inner.lower().endswith(ADAPTER)]
    # Whoever opens a folder that has the name of an adapter and holds none says what is wrong.
    tree.adapters += [inner for inner in named if not any(path.startswith(f"{inner}/") for path in tree.adapters)]
    for paths in (tree.adapters, tree.parquet, tree.arrow, tree.feather, tree.tables, tree.saved):
        paths.sort(key=by_parts)
    return tree


def _enter(folder: str, waiting: list[str], tree: Tree, linked: list[str]) -> list[str]:
    """Takes the files of some folders and of all below them, links apart; the folders that were entered."""
    entered = []
    while waiting:
        inner = waiting.pop()
        entered.append(inner)
        with os.scandir(os.path.join(folder, inner)) as entries:
            for entry in entries:
                name = entry.name
                path = f"{inner}/{name}" if inner else name
                if name[0] in "._" and not ("=" in name and name[0] == "_"):  # a partition may begin so: _day=1
                    _hidden(tree, entry, path)
                    continue
                lower = name.lower()
                if lower.endswith(ADAPTER) and not entry.is_dir(follow_symlinks=False):
                    if (match := SUSPECT.search(name)) and (kind := stray(match, entry.path)):
                        tree.leave(kind, path)
                        continue
                    tree.adapters.append(path)
                    if entry.is_symlink():
                        tree.links.add(path)
                elif lower in _SYSTEM:
                    tree.leave("folder{s} of the system", path)
                elif entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append(path)
                    if lower in (PEFT_CONFIG, DESCRIPTION, *TABLES):  # whoever reads it says what is wrong
                        _take_other(tree, inner, lower, path)
                elif lower.endswith(PARQUET):
                    tree.parquet.append(path)
                    if entry.is_symlink():
                        tree.links.add(path)
                else:
                    _take_other(tree, inner, lower, path)
    return entered


def _hidden(tree: Tree, entry: os.DirEntry[str], path: str) -> None:
    name = entry.name
    if name in _LOGS:
        tree.logs.append((path, _LOGS[name]))
    elif entry.is_dir(follow_symlinks=False):
        if name not in _TOOLS:
            tree.leave("hidden folder{s} (by a _ or . at the beginning)", path)
    elif name.lower().endswith((ADAPTER, PARQUET)):
        tree.leave("hidden file{s} (by a _ or . at the beginning)", path)


def _take_other(tree: Tree, inner: str, lower: str, path: str) -> None:
    if lower == PEFT_CONFIG:
        tree.configs[inner] = max(path, tree.configs.get(inner, path))
    elif lower == DESCRIPTION:
        tree.described[inner] = max(path, tree.described.get(inner, path))
    elif lower in TABLES:
        tree.tables.append(path)
    elif lower in SAVED:
        tree.saved.append(path)
    elif lower.endswith(".arrow"):
        tree.arrow.append(path)
    elif lower.endswith(FEATHER):
        tree.feather.append(path)
    elif lower.endswith(_PICKLES):
        tree.pickles += 1
    elif lower.endswith(_UNFINISHED):
        if ADAPTER in lower or PARQUET in lower:
            tree.leave("unfinished or older file{s}", path)
    elif lower.endswith(_ARCHIVES):
        tree.leave("archive{s}", path)
    elif lower.startswith("metadata.") and lower.endswith(_TABLES):
        tree.leave("table{s} of a kind that is not read (write metadata.csv)", path)
    elif lower.endswith(_ICEBERG) and inner.rpartition("/")[2] == "metadata":
        tree.logs.append((path, "Apache Iceberg"))


def by_parts(path: str) -> list[str]:
    """The key that orders paths folder by folder, as their classes are ordered: "cat/a" before "cat-like/a"."""
    return path.split("/")


def parent(path: str) -> str:
    """The folder of a relative path, "" for the folder itself."""
    return path.rpartition("/")[0]


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
