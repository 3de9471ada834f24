"""The packages of both sides in folders of their own, where both run the tests of the tree: `--pairs-tests here`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_perf.core.errors import LoraPerfError, listed

_NO_PACKAGES = ("conftest", "setup", "noxfile", "__init__")


@dataclass(frozen=True)
class Packages:
    """What each side measures.

    Attributes:
        names: that tests import.
        base, change: the folder that holds those of a side, in which nothing else stands.
    """

    names: tuple[str, ...]
    base: Path
    change: Path

    @property
    def same(self) -> bool:
        """Whether both sides have the same files with the same bytes."""
        return _files(self.base) == _files(self.change)


def places(root: Path, paths: Sequence[str]) -> list[Path]:
    """The folders of a tree in which its packages are found: its root, `src`, and what of the paths of imports lies within."""
    found = dict.fromkeys([root, root / "src", *(Path(place).resolve() for place in paths if place)])
    within = (path for path in found if path == root or root in path.parents)
    return [path for path in within if path.is_dir() and not _is_environment(path, root)]


def names(root: Path, paths: Sequence[str], tests: set[Path]) -> tuple[str, ...]:
    """The packages and modules of a tree, those apart that hold tests.

    Raises:
        LoraPerfError: there is none.
    """
    beside = {test.parent for test in tests} - {root, root / "src"}
    found = {
        path.stem: None
        for place in places(root, paths)
        if place not in beside
        for path in sorted(place.iterdir())
        if _is_package(path) and path.stem not in _NO_PACKAGES and not any(path in (one, *one.parents) for one in tests)
    }
    if not found:
        raise LoraPerfError(
            expected=f"a package beside the tests in {root}, or in its src",
            found="none",
            fix="leave out --pairs-tests here: both sides then run their own tests",
        )
    return tuple(found)


def copy(chosen: Sequence[str], paths: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """Copies packages, without what Python keeps of them, into a folder; returns the names of those found.

    Args:
        paths: folders in which they are sought one after the other.
    """
    folder.mkdir(parents=True)
    there = []
    for name in chosen:
        for path in (one for place in paths for one in (place / name, place / f"{name}.py")):
            if path.is_dir() and name not in there:
                shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
                there.append(name)
            elif path.is_file() and name not in there:
                shutil.copyfile(path, folder / path.name)
                there.append(name)
    return tuple(there)


def both(chosen: Sequence[str], root: Path, base: Path, paths: Sequence[str], folder: Path) -> Packages:
    """Copies the packages of the tree, uncommitted changes included, and those of the base into a folder.

    Raises:
        LoraPerfError: the tree lacks one, or the base has none.
    """
    there = copy(chosen, places(root, paths), folder / "change")
    if missing := [name for name in chosen if name not in there]:
        raise LoraPerfError(
            expected=f"packages of {root}", found=f"none called {listed(missing)}", fix="correct --pairs-package"
        )
    of_base = [base / path.relative_to(root) for path in places(root, paths)]
    if not copy(chosen, [base, base / "src", *of_base], folder / "base"):
        raise LoraPerfError(expected=f"a commit that has {listed(chosen)}", found="none in the base", fix="choose a later base")
    return Packages(tuple(chosen), folder / "base", folder / "change")


def _is_package(path: Path) -> bool:
    module = path.suffix == ".py" and path.is_file()
    return path.stem.isidentifier() and (module or (path / "__init__.py").is_file())


def _is_environment(path: Path, root: Path) -> bool:
    """Whether a folder belongs to a virtual environment within the tree, whose packages are those of both sides."""
    return any((one / "pyvenv.cfg").exists() for one in (path, *path.parents) if one == root or root in one.parents)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _walk(folder)}


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
