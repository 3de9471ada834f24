"""Tables that can be opened at all, each once: no pipes, no broken links, no names that Arrow cannot say."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.files.tree import Tree


def refuse_irregular(path: Path, files: Sequence[str], what: str) -> None:
    """Refuses what would make its reader wait, or lead nowhere."""
    refuse_other_bytes(path, files)
    wrong = [one for one in files if not (path / one).is_file()]
    if wrong:
        found = "a broken link" if (path / wrong[0]).is_symlink() else "no regular file"
        raise LoraPerfError(expected=f"{what} at {path / wrong[0]}", found=found, fix="write or fetch it again, or remove it")


def refuse_other_bytes(path: Path, files: Sequence[str]) -> None:
    """Refuses paths that are no UTF-8, which Arrow cannot open."""
    for one in files:
        whole = str(path / one)
        if not whole.isascii() and whole.encode("utf-8", "replace") != os.fsencode(whole):
            raise LoraPerfError(
                expected="paths in UTF-8, since Arrow opens no others", found=whole, fix="rename the file or its folder"
            )


def refuse_links(path: Path, files: Sequence[str], tree: Tree) -> None:
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
