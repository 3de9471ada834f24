"""Folders of adapter files: the header of each is read once, its data section then goes straight into its row."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layout
from lora_perf.core.making import encode
from lora_perf.core.metadata import Metadata
from lora_perf.core.zoo import FloatRows, RowSource, Skipped, Zoo
from lora_perf.io.files.adapter import layout_of
from lora_perf.io.files.agreeing import agreeing, tables_of
from lora_perf.io.files.classes import alike, declared, members
from lora_perf.io.files.declared import refuse_snapshots
from lora_perf.io.files.doubles import refuse_checkpoints, same_copies
from lora_perf.io.files.others import leave_others
from lora_perf.io.files.plan import Plan
from lora_perf.io.files.reader import NoAdapterError, Opened, Reader
from lora_perf.io.files.told import columns_of
from lora_perf.io.files.tree import Tree, by_parts, parent
from lora_perf.io.headers import HeaderError, open_file
from lora_perf.io.members import Member, split_of, text_of

_log = logging.getLogger(__name__)


def open_folder(folder: str, tree: Tree, *, label_column: str | None, name: str, skip_bad: bool) -> Zoo | None:
    """The zoo of a folder of adapter files in the order of their paths, None where none is there; weights are read when used.

    Adapters may differ in dialect, dtype, order of their tensors, scale and rank, not in their modules: those that most of
    them have are the zoo's.

    Args:
        skip_bad: leave files out that cannot be used, with a warning each, and list them in `Zoo.skipped`.

    Cost: the header of each file is read; those that equal an earlier one are not parsed again.

    Raises:
        LoraPerfError: a file that is no adapter of this package's kinds, or of other modules than most; what `members` refuses.
    """
    folder = os.path.abspath(folder)
    skipped: list[Skipped] = []

    def refuse(path: str, error: LoraPerfError) -> None:
        if not skip_bad:
            raise error.but(fix=f"{error.fix}, or leave such files out with skip_bad=True (--skip-bad)")
        _log.warning("left out: %s", error)
        skipped.append(Skipped(path, str(error)))

    if tree.pickles:
        _log.warning("%s: %d files of pickles (.bin, .pt, .ckpt) left alone: they are never unpickled", folder, tree.pickles)
    refuse_snapshots(tree.adapters, folder)
    files = _usable(folder, tree, refuse)
    if not files and not skipped:
        return None
    leave_others(folder, tree, label_column)
    if not declared(tree, list(files)):
        refuse_checkpoints(list(files), folder)
    try:
        found = members(folder, tree, label_column, frozenset(one.path for one in skipped))
    finally:  # what is left alone may be why there is no class
        for line in tree.told():
            _log.warning("%s: %s", folder, line)
    opened = agreeing(list(_labelled(found, files, refuse)), folder, refuse)
    if not opened:
        raise LoraPerfError(
            expected=f"at least one adapter in {folder} that can be used",
            found=f"{len(skipped)} that cannot; the first: {skipped[0].reason}",
            fix="repair or replace the files",
        )
    paths = [one.member.path for one in opened]
    _tell(folder, opened)
    skipped.sort(key=lambda one: by_parts(one.path))
    named = any(one.member.label != "" for one in opened)
    labels, classes = encode([one.member.label for one in opened]) if named else (None, [])
    if twins := alike(classes):
        _log.warning("%s: classes with nearly the same name: %s", folder, listed(twins, 3))
    meanings = list({id(one.meaning): one.meaning for one in opened}.values())
    layout = layout_of(meanings)
    return Zoo(
        FolderRows(folder, opened, layout),
        layout,
        labels,
        classes,
        split=split_of([one.member for one in opened]),
        name=name,
        skipped=skipped,
        names=[path if path.isascii() else text_of(path) for path in paths],
        metadata=Metadata(columns_of(folder, tree, paths, [one.member.entries for one in opened]), len(paths)),
        **tables_of(opened),
    )


def read_all(folder: str, tree: Tree, progress: Callable[[int], object] | None = None) -> dict[str, Opened | LoraPerfError]:
    """Reads the header of every adapter file: by its path what was read, or why it cannot be used.

    What turns out to be none leaves the tree. A link to a file that is there, and a copy of the same bytes, cannot be used.
    """
    reader = Reader(folder, tree)
    seen: dict[tuple[int, int], str] = {}
    hard: list[str] = []
    found: dict[str, Opened | LoraPerfError] = {}
    # Links last, so that a file is known by its own name.
    for path in [*(path for path in tree.adapters if path not in tree.links), *sorted(tree.links & set(tree.adapters))]:
        try:
            one = reader.open(Member(path))
            if path in tree.links and one.node in seen:
                raise LoraPerfError(
                    expected=f"each adapter once in {folder}",
                    found=f"{path}, a link to {'the file of ' * (seen[one.node] in tree.links)}{seen[one.node]}",
                    fix="remove the link",
                )
            if one.node in seen:
                hard.append(path)
            else:
                seen[one.node] = path
            found[path] = one
        except NoAdapterError as kind:
            tree.leave(str(kind), path)
        except LoraPerfError as error:
            found[path] = error
        if progress is not None:
            progress(1)
    tree.adapters = [path for path in tree.adapters if path in found]
    if hard:
        _log.warning("%s: another name (a hard link) of an adapter that is read too: %s", folder, listed(hard, 3))
    for path, original in same_copies(folder, tree.adapters).items():
        if isinstance(found[path], Opened):
            found[path] = LoraPerfError(
                expected=f"each adapter once in {folder}",
                found=f"{path}, a copy of {original} with the same bytes",
                fix="remove the copy",
            )
    _leave_configs(tree)
    return {path: found[path] for path in tree.adapters}


def _leave_configs(tree: Tree) -> None:
    """Notes configurations above adapters that have none of their own: whose they are, nothing says."""
    for inner in sorted(tree.configs.keys() - set(map(parent, tree.adapters))):
        above = f"{inner}/" if inner else ""
        if any(path.startswith(above) and parent(path) not in tree.configs for path in tree.adapters):
            tree.leave("configuration{s} beside no adapter", tree.configs[inner])


def _usable(folder: str, tree: Tree, refuse: Callable[[str, LoraPerfError], None]) -> dict[str, Opened]:
    files = {}
    for path, one in read_all(folder, tree).items():
        if isinstance(one, LoraPerfError):
            refuse(path, one)
        else:
            files[path] = one
    return files


def _labelled(
    found: Iterable[Member], files: Mapping[str, Opened], refuse: Callable[[str, LoraPerfError], None]
) -> Iterator[Opened]:
    """The opened files with their classes."""
    for member in found:
        if member.error is not None:
            refuse(member.path, member.error)
            continue
        one = files[member.path]
        one.member = member
        yield one


def _tell(folder: str, opened: list[Opened]) -> None:
    """Logs once what the headers say beside their pairs."""
    told = Counter(
        text for one in opened for text in (*one.meaning.reading.notes, *one.meaning.reading.problems, *one.problems)
    )
    for note, count in told.items():
        _log.warning("%s: %d adapters: %s", folder, count, note)
    others = Counter(one.meaning.reading.other for one in opened if one.meaning.reading.other)
    for names, count in others.items():
        _log.warning("%s: %d adapters hold tensors that are no LoRA and are left out: %s", folder, count, listed(names, 3))


class FolderRows(RowSource):
    """Rows of adapter files, each opened, read by one call to the system and closed again."""

    divisible = True

    def __init__(self, folder: str, opened: list[Opened], layout: Layout) -> None:
        self.n, self.p = len(opened), layout.p
        self._folder = folder
        self.where = f"in the files of {folder}"
        self._paths = [one.member.path for one in opened]
        plans: dict[int, Plan] = {}
        for one in opened:
            if id(one.meaning) not in plans:
                plans[id(one.meaning)] = Plan(one.meaning, layout)
        self._plans = [plans[id(one.meaning)] for one in opened]
        self._begins, self._sizes = array("q", (one.begin for one in opened)), array("q", (one.size for one in opened))
        self._changes = array("q", (one.changed for one in opened))
        self._largest = max(plan.buffer_nbytes for plan in plans.values())
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name != "_local"}
        return state | {"_folder": os.path.abspath(self._folder)}  # the process that reads it may stand elsewhere

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._local = threading.local()

    def read(self, start: int, stop: int, out: FloatRows) -> None:
        buffer = self._buffer()
        for i in range(start, stop):
            try:
                descriptor, status = open_file(f"{self._folder}/{self._paths[i]}")
                try:
                    if status.st_size != self._sizes[i] or status.st_mtime_ns != self._changes[i]:
                        raise HeaderError("another one, written since")
                    self._plans[i].fill(out[i - start], descriptor, self._begins[i], buffer)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise self._gone(i, error.strerror or str(error)) from None
            except HeaderError as error:
                raise self._gone(i, str(error)) from None
            except EOFError:
                raise self._gone(i, "the end of the file") from None

    def _buffer(self) -> NDArray[np.uint8]:
        """The buffer of this thread: fresh memory would cost more than what is read into it."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = np.empty(self._largest, np.uint8)
        found: NDArray[np.uint8] = self._local.buffer
        return found

    def _gone(self, i: int, found: str) -> LoraPerfError:
        return LoraPerfError(
            expected=f"the adapter that was opened at {self._folder}/{self._paths[i]}", found=found, fix="load the folder again"
        )
