"""Planted slowdowns: small changes of the package, kept as data, that the guard has to notice.

A mutant is a file `mutants/NAME.toml`:

    name = "rows_cloned"
    what = "A needless copy of the rows"
    stage = "loading"
    workloads = ["load_nested"]

    [[edits]]
    file = "lora_perf/core/zoo.py"
    find = "return rows"
    replace = "return rows.clone()"

`find` must stand in the file exactly once: a mutant that no longer applies is an error, and never passes for one that was
caught.
"""

from __future__ import annotations

import ast
import builtins
import shutil
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.guard.suite import PACKAGE
from benchmarks.surface import listed
from benchmarks.table import Workload
from lora_perf import LoraPerfError

FOLDER = Path(__file__).parent / "mutants"
_KEYS = {"name", "what", "stage", "workloads", "edits"}
_EDIT_KEYS = {"file", "find", "replace"}


@dataclass(frozen=True)
class Edit:
    """Exact text of a file of the package, and what takes its place."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Mutant:
    """One planted slowdown.

    Attributes:
        what: is slow about it, in a sentence.
        stage: of the data flow.
        workloads: that should notice.
        threads: of each process, where one would not notice.
    """

    name: str
    what: str
    stage: str
    workloads: tuple[str, ...]
    edits: tuple[Edit, ...]
    threads: int = 1

    def fits(self, folder: Path) -> bool:
        """Whether every text stands exactly once in its file of the package in a folder."""
        files = {edit: folder / edit.file for edit in self.edits}
        return all(path.is_file() and path.read_text().count(edit.find) == 1 for edit, path in files.items())

    def apply(self, folder: Path) -> None:
        """Edits the package in a folder.

        Raises:
            LoraPerfError: a file is missing, or a text does not stand in it exactly once.
        """
        for edit in self.edits:
            path = folder / edit.file
            if not path.is_file():
                raise self._wrong("a file of the package in every edit", edit.file, "correct `file`")
            text = path.read_text()
            count = text.count(edit.find)
            if count != 1:
                raise self._wrong(
                    f"its text exactly once in {edit.file}",
                    f"{count} times {edit.find.strip().splitlines()[0]!r}...",
                    "follow the file's change, or make `find` longer",
                )
            path.write_text(text.replace(edit.find, edit.replace))

    def _wrong(self, expected: str, found: str, fix: str) -> LoraPerfError:
        return LoraPerfError(expected=f"mutant {self.name}: {expected}", found=found, fix=fix)


def misfits(one: Mutant, root: Path, table: Mapping[str, Workload]) -> list[str]:
    """Why a mutant does not fit the package of a tree and its workloads, a line a fault: what has moved away under it."""
    found = [
        f"mutant {one.name}: {name} is no workload of stage {one.stage}"
        for name in one.workloads
        if name not in table or table[name].stage != one.stage
    ]
    with tempfile.TemporaryDirectory() as folder:
        for file in {edit.file for edit in one.edits}:
            target = Path(folder) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if (root / file).is_file():
                shutil.copy(root / file, target)
        try:
            one.apply(Path(folder))
            for file in {edit.file for edit in one.edits}:
                before, after = (ast.parse((tree / file).read_text()) for tree in (root, Path(folder)))
                if ast.dump(before) == ast.dump(after):
                    found.append(f"mutant {one.name}: {file} means the same as before")
                found += [f"mutant {one.name}: {file} has no {name}" for name in sorted(_unbound(after) - _unbound(before))]
        except (LoraPerfError, SyntaxError) as error:
            found.append(str(error))
    return found


def _unbound(tree: ast.AST) -> set[str]:
    """Names that are read in a file and bound nowhere in it, in whatever scope."""
    names = [one for one in ast.walk(tree) if isinstance(one, ast.Name)]
    bound = {one.id for one in names if not isinstance(one.ctx, ast.Load)} | set(dir(builtins))
    for one in ast.walk(tree):
        if isinstance(one, ast.alias):
            bound.add((one.asname or one.name).partition(".")[0])
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(one.name)
        elif isinstance(one, ast.arg):
            bound.add(one.arg)
        elif isinstance(one, ast.ExceptHandler) and one.name:
            bound.add(one.name)
    return {one.id for one in names} - bound


def read(path: Path) -> Mutant:
    """The mutant of a file.

    Raises:
        LoraPerfError: no TOML, a key is missing, unknown or empty, or an edit changes nothing.
    """
    try:
        values = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise LoraPerfError(expected=f"TOML in {path.name}", found=str(error), fix="correct the file") from error
    threads = values.pop("threads", 1)
    _expect_keys(values, _KEYS, path)
    for edit in values["edits"]:
        _expect_keys(edit, _EDIT_KEYS, path, may_be_empty=("replace",))
        if not edit["file"].startswith(f"{PACKAGE}/") or edit["find"] == edit["replace"]:
            raise LoraPerfError(
                expected=f"edits in {path.name} that change files of {PACKAGE}/",
                found=repr(edit["file"]),
                fix="correct the edit",
            )
    if values["name"] != path.stem:
        raise LoraPerfError(expected=f"{path.name} to name {path.stem!r}", found=repr(values["name"]), fix="rename one of them")
    edits = tuple(Edit(**edit) for edit in values["edits"])
    return Mutant(values["name"], values["what"], values["stage"], tuple(values["workloads"]), edits, threads)


def _expect_keys(values: dict[str, Any], keys: set[str], path: Path, may_be_empty: tuple[str, ...] = ()) -> None:
    empty = {name for name, value in values.items() if not value and name not in may_be_empty}
    if set(values) != keys or empty:
        raise LoraPerfError(
            expected=f"{', '.join(sorted(keys))} in {path.name}, none of them empty",
            found=f"missing {sorted(keys - set(values))}, unknown {sorted(set(values) - keys)}, empty {sorted(empty)}",
            fix="correct the file",
        )


def load(names: tuple[str, ...] = (), folder: Path = FOLDER) -> list[Mutant]:
    """The mutants of these names, or all, sorted by name.

    Raises:
        LoraPerfError: an unknown name, or a file that is no mutant.
    """
    paths = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    unknown = [name for name in names if name not in paths]
    if unknown:
        raise LoraPerfError(expected=f"mutants ({listed(paths, 60)})", found=listed(unknown), fix="choose of these")
    return [read(paths[name]) for name in (names or paths)]
