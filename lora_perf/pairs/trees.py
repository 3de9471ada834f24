"""A commit to compare with, and its files in a folder of their own: nothing of it stays in the repository."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lora_perf.core.errors import LoraPerfError

_MAIN = ("origin/main", "main", "origin/master", "master")


@dataclass(frozen=True)
class Revision:
    """A commit, and how it was chosen."""

    commit: str
    how: str

    def __str__(self) -> str:
        return f"{self.commit[:12]} ({self.how})"


def base_revision(root: Path, name: str | None) -> Revision:
    """The commit of a name, or where the branch left main.

    Raises:
        LoraPerfError: no such commit, no main branch, or no repository.
    """
    if name is not None:
        commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if commit is None:
            raise LoraPerfError(
                expected="a commit, branch or tag to compare with",
                found=repr(name),
                fix="see `git log`; in a shallow clone fetch it first (in CI: fetch-depth: 0)",
            )
        return Revision(commit, name)
    for main in _MAIN:
        if _git(root, "rev-parse", "--verify", "--quiet", main):
            commit = _git(root, "merge-base", "HEAD", main)
            if commit is not None:
                return Revision(commit, f"merge base with {main}")
    raise LoraPerfError(
        expected=f"a git repository in which HEAD has a commit in common with one of {', '.join(_MAIN)}",
        found=f"none in {root}",
        fix="name the commit to compare with by --base (in CI: fetch-depth: 0)",
    )


def checkout(root: Path, commit: str, folder: Path) -> Path:
    """Writes all files of a commit into a folder, and returns that folder; the repository and its index stay as they are.

    Raises:
        LoraPerfError: they cannot be written.
    """
    folder.mkdir(parents=True)
    top = repository(root)
    environment = {**os.environ, "GIT_INDEX_FILE": str(folder.parent / f"{folder.name}.index")}
    for words in (["read-tree", commit], ["checkout-index", "--all", f"--prefix={folder}/"]):
        done = subprocess.run(["git", *words], cwd=top, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LoraPerfError(
                expected=f"the files of {commit[:12]} in {folder}",
                found=(done.stderr.strip().splitlines() or ["git failed"])[-1],
                fix="make room on that disk, or choose another with TMPDIR",
            )
    return folder


def repository(root: Path) -> Path:
    """The top folder of the repository that a folder is in.

    Raises:
        LoraPerfError: it is in none.
    """
    found = _git(root, "rev-parse", "--show-toplevel")
    if found is None:
        raise LoraPerfError(expected="a git repository", found=f"none around {root}", fix="run it within one")
    return Path(found)


def changed_files(root: Path, commit: str) -> set[Path]:
    """The files that differ between a commit and the tree, those that git does not know included."""
    top = repository(root)
    told = [_git(top, "diff", "--name-only", "-z", commit), _git(top, "ls-files", "--others", "--exclude-standard", "-z")]
    return {top / name for text in told if text for name in text.split("\0") if name}


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
