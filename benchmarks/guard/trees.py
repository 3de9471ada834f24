"""Copies of the package to compare, in folders of their own: whatever happens to them, the user's tree stays as it is."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from lora_perf import LoraPerfError

PACKAGE = "lora_perf"
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
                expected="a commit, branch or tag as --base",
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


def extract(root: Path, commit: str, name: str, folder: Path) -> Path | None:
    """Writes a folder of a commit into another folder; None where the commit has none of that name.

    `git archive` leaves nothing behind in the repository, unlike a worktree.
    """
    if _git(root, "cat-file", "-e", f"{commit}:{name}") is None:
        return None
    done = subprocess.run(["git", "archive", "--format=tar", commit, "--", name], cwd=root, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / name


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


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
