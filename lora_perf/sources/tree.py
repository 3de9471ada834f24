"""What a folder holds: adapter files, parquet shards, descriptions and pickles, found in one walk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

ADAPTER = ".safetensors"
PEFT_CONFIG = "adapter_config.json"
DESCRIPTION = "metadata.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(slots=True)
class Tree:
    """The files below a folder, as relative paths with "/" in the order of their parts; hidden files and folders are left out.

    Attributes:
        adapters: everything whose name ends in .safetensors, whatever it may be.
        parquet: parquet files.
        configs: folders with an adapter_config.json ("" is the folder itself).
        described: folders with a metadata.json.
        pickles: how many files there are of kinds that are never opened.
    """

    adapters: list[str] = field(default_factory=list)
    parquet: list[str] = field(default_factory=list)
    configs: set[str] = field(default_factory=set)
    described: set[str] = field(default_factory=set)
    pickles: int = 0


def walk(folder: str) -> Tree:
    """The tree of a folder; symbolic links are followed, but into no folder twice.

    Cost: one system call a few dozen files.

    Raises:
        OSError: a folder cannot be read.
    """
    tree = Tree()
    seen = {_identity(folder)}
    waiting = [""]
    while waiting:
        inner = waiting.pop()
        with os.scandir(os.path.join(folder, inner)) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                path = f"{inner}/{name}" if inner else name
                if name.endswith(ADAPTER):
                    tree.adapters.append(path)
                elif entry.is_dir():
                    if not entry.is_symlink() or (identity := _identity(entry.path)) not in seen:
                        waiting.append(path)
                        if entry.is_symlink():
                            seen.add(identity)
                elif name.endswith(".parquet"):
                    tree.parquet.append(path)
                elif name == PEFT_CONFIG:
                    tree.configs.add(inner)
                elif name == DESCRIPTION:
                    tree.described.add(inner)
                elif name.endswith(_PICKLES):
                    tree.pickles += 1
    tree.adapters.sort(key=by_parts)
    tree.parquet.sort(key=by_parts)
    return tree


def by_parts(path: str) -> list[str]:
    """The key that orders paths folder by folder, as their classes are ordered: "cat/a" before "cat-like/a"."""
    return path.split("/")


def parent(path: str) -> str:
    """The folder of a relative path, "" for the folder itself."""
    return path.rpartition("/")[0]


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
