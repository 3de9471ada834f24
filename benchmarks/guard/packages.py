"""Copies of the package to compare, in folders of their own: whatever happens to them, the user's tree stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

from lora_perf import LoraPerfError
from lora_perf.pairs.trees import Revision, extract

PACKAGE = "lora_perf"


def extract_package(root: Path, revision: Revision, folder: Path) -> Path:
    """Writes the package of a commit into a folder, and returns that folder.

    Raises:
        LoraPerfError: the commit has no package.
    """
    if extract(root, revision.commit, PACKAGE, folder) is None:
        raise LoraPerfError(
            expected=f"a commit with a folder {PACKAGE}", found=f"none in {revision}", fix="choose a later --base"
        )
    return folder


def copy_package(root: Path, folder: Path) -> Path:
    """Copies the package of a tree, uncommitted changes included, into a folder, and returns that folder."""
    shutil.copytree(root / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def same_package(one: Path, other: Path) -> bool:
    """Whether the packages in two folders have the same files with the same bytes."""

    def files(folder: Path) -> dict[str, bytes]:
        found = (path for path in (folder / PACKAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}

    return files(one) == files(other)
