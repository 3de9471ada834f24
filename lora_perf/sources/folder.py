"""Folders of adapter files: the header of each is read once, its data section then goes straight into its row."""

from __future__ import annotations

import logging
import os
import re
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.dialects.scales import is_mlx
from lora_perf.dialects.statements import scale_entries
from lora_perf.errors import LoraPerfError, listed
from lora_perf.headers import HeaderError, bad_file, check_size, open_file, parse_header, read_text, reason, split_metadata
from lora_perf.layout import Layout
from lora_perf.sources.adapter import Meaning, contradictions, layout_of, meaning_of, read_scales
from lora_perf.sources.classes import Member, alike, declared, encode, members, split_of, text_of
from lora_perf.sources.declared import refuse_snapshots
from lora_perf.sources.doubles import refuse_checkpoints, same_copies
from lora_perf.sources.metadata import PEFT_WEIGHTS, read_object
from lora_perf.sources.plan import Plan
from lora_perf.sources.strays import WRITTEN_HERE, is_own
from lora_perf.sources.tree import PEFT_CONFIG, Tree, by_parts, parent
from lora_perf.zoo import FloatRows, RowSource, Skipped, Zoo

_SHARD = re.compile(r"-(\d{4,})-of-(\d{4,})\.safetensors$", re.IGNORECASE)
_log = logging.getLogger(__name__)


class NoAdapterError(Exception):
    """A file that is left alone, since it is not meant as an adapter; the text is its kind as a plural."""


@dataclass(slots=True)
class Opened:
    """An adapter file whose header was read.

    Attributes:
        member: its path, and its class as soon as that is known.
        meaning: of its header.
        scales: (modules,) of dW.
        begin: of its data section.
        size: of the file in bytes.
        changed: when it was last changed, in nanoseconds.
        node: what the system knows the file by, whatever its names.
        problems: what it states of its scales and does not hold.
    """

    member: Member
    meaning: Meaning
    scales: NDArray[np.float64]
    begin: int
    size: int
    changed: int
    node: tuple[int, int]
    problems: tuple[str, ...] = ()


def open_folder(folder: str, tree: Tree, *, label_column: str, name: str, skip_bad: bool) -> Zoo | None:
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
            fix = f"{error.fix}, or leave such files out with skip_bad=True (--skip-bad)"
            raise LoraPerfError(expected=error.expected, found=error.found, fix=fix)
        _log.warning("left out: %s", error)
        skipped.append(Skipped(path, str(error)))

    if tree.pickles:
        _log.warning("%s: %d files of pickles (.bin, .pt, .ckpt) left alone: they are never unpickled", folder, tree.pickles)
    refuse_snapshots(tree.adapters, folder)
    files = _usable(folder, tree, refuse)
    for line in tree.told():
        _log.warning("%s: %s", folder, line)
    if not files and not skipped:
        return None
    if not declared(tree, list(files)):
        refuse_checkpoints(list(files), folder)
    found = members(folder, tree, label_column, frozenset(one.path for one in skipped))
    opened = _agreeing(list(_labelled(found, files, refuse)), folder, refuse)
    if not opened:
        raise LoraPerfError(
            expected=f"at least one adapter in {folder} that can be used",
            found=f"{len(skipped)} that cannot; the first: {skipped[0].reason}",
            fix="repair or replace the files",
        )
    paths = [one.member.path for one in opened]
    _tell(folder, opened)
    skipped.sort(key=lambda one: by_parts(one.path))
    labels, classes = encode([one.member.label for one in opened])
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
        scales=_scales(opened),
        ranks=torch.tensor([one.meaning.ranks for one in opened]) if len({one.ranks for one in meanings}) > 1 else None,
        skipped=skipped,
        names=[path if path.isascii() else text_of(path) for path in paths],
    )


def read_all(folder: str, tree: Tree, progress: Callable[[int], object] | None = None) -> dict[str, Opened | LoraPerfError]:
    """Reads the header of every adapter file: by its path what was read, or why it cannot be used.

    What turns out to be none leaves the tree. A link to a file that is there, and a copy of the same bytes, cannot be used.
    """
    reader = Reader(folder, tree)
    seen: dict[tuple[int, int], str] = {}
    found: dict[str, Opened | LoraPerfError] = {}
    # Links last, so that a file is known by its own name.
    for path in [*(path for path in tree.adapters if path not in tree.links), *sorted(tree.links & set(tree.adapters))]:
        try:
            one = reader.open(Member(path))
            if path in tree.links and one.node in seen:
                raise LoraPerfError(
                    expected=f"each adapter once in {folder}",
                    found=f"{path}, a link to {seen[one.node]}",
                    fix="remove the link",
                )
            if path not in tree.links:
                seen[one.node] = path
            found[path] = one
        except NoAdapterError as kind:
            tree.leave(str(kind), path)
        except LoraPerfError as error:
            found[path] = error
        if progress is not None:
            progress(1)
    tree.adapters = [path for path in tree.adapters if path in found]
    for path, original in same_copies(folder, tree.adapters).items():
        if isinstance(found[path], Opened):
            found[path] = LoraPerfError(
                expected=f"each adapter once in {folder}",
                found=f"{path}, a copy of {original} with the same bytes",
                fix="remove the copy",
            )
    return {path: found[path] for path in tree.adapters}


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


class Reader:
    """Opens files one after the other and knows the headers that it has seen."""

    def __init__(self, folder: str, tree: Tree) -> None:
        self._folder = folder
        self._configs = tree.configs
        self._neighbours = Counter(map(parent, tree.adapters)) if tree.configs else Counter()
        self._known: dict[tuple[str, tuple[tuple[str, str], ...], str | None, str | None], Meaning] = {}
        self._last_text = b""
        self._last: tuple[tuple[tuple[str, str], ...], str] = ((), "")

    def open(self, member: Member) -> Opened:
        """Reads the header of one file, and its alphas where it has some.

        Raises:
            LoraPerfError: the file cannot be read, is no safetensors file, or no adapter that this package knows.
        """
        path = f"{self._folder}/{member.path}"
        try:
            descriptor, status = open_file(path)
            try:
                text = read_text(descriptor, status.st_size, 8 + max(len(self._last_text), 1 << 10))
                begin = 8 + len(text)
                meaning = self._meaning(text, status.st_size, member.path)
                check_size(status.st_size, begin + meaning.nbytes)
                scales = read_scales(meaning, descriptor, begin)
                problems = contradictions(meaning, scales) if meaning.claims else ()
            finally:
                os.close(descriptor)
        except OSError as error:
            raise bad_file(path, reason(error, path)) from None
        except HeaderError as error:
            raise bad_file(path, str(error), error.fix) from None
        except EOFError:
            raise bad_file(path, "the end of the file") from None
        except LoraPerfError as error:
            raise LoraPerfError(expected=f"{error.expected} in {path}", found=error.found, fix=error.fix) from None
        node = status.st_dev, status.st_ino
        return Opened(member, meaning, scales, begin, status.st_size, status.st_mtime_ns, node, problems)

    def _meaning(self, text: bytes, size: int, path: str) -> Meaning:
        if text != self._last_text:
            metadata, rest = split_metadata(text)
            self._last_text, self._last = text, (scale_entries(metadata), rest)
        stated, rest = self._last
        config, unclear = self._config(path)
        # Of the metadata only these entries have a meaning; the others differ from file to file where a trainer logs into them.
        key = rest, stated, None if config is None else repr(config), unclear
        if key not in self._known:
            header = parse_header(text, size)
            if is_own(header):
                raise NoAdapterError(WRITTEN_HERE)
            if not header.entries:
                raise HeaderError("no tensor (DeepSpeed's ZeRO-3 leaves such files where weights are not gathered)")
            if shard := _SHARD.search(path):
                raise LoraPerfError(
                    expected="a whole adapter",
                    found=f"shard {int(shard[1])} of {int(shard[2])}",
                    fix="save the adapter again with a larger max_shard_size",
                )
            self._known[key] = meaning_of(header, config, unclear)
        return self._known[key]

    def _config(self, path: str) -> tuple[dict[str, Any] | None, str | None]:
        """The configuration beside a file, or, where it may be that of another file, what stands there."""
        inner, _, name = path.rpartition("/")
        if inner not in self._configs:
            return None, None
        config = read_object(os.path.join(self._folder, inner, PEFT_CONFIG))
        # A renamed file keeps its configuration; mlx-lm writes the checkpoints of a run side by side, with one for all.
        if name == PEFT_WEIGHTS or self._neighbours[inner] == 1 or is_mlx(config):
            return config, None
        return None, f"{self._neighbours[inner]} adapters beside it, so that it is unclear whose it is"


def _agreeing(opened: list[Opened], folder: str, refuse: Callable[[str, LoraPerfError], None]) -> list[Opened]:
    """The adapters of the modules that most of them have; of those as frequent, the first's."""
    if not opened:
        return []
    usual = Counter(one.meaning.modules for one in opened).most_common(1)[0][0]
    example = next(one for one in opened if one.meaning.modules == usual).member.path
    agreeing = []
    for one in opened:
        if one.meaning.modules == usual:
            agreeing.append(one)
            continue
        path = one.member.path
        refuse(
            path,
            LoraPerfError(
                expected=f"the modules of {example} ({len(usual)}) in {os.path.join(folder, path)}",
                found=_difference(one.meaning.modules, usual),
                fix="load adapters of one set of modules at a time, or leave this one out",
            ),
        )
    return agreeing


def _difference(found: tuple[tuple[str, int, int], ...], usual: tuple[tuple[str, int, int], ...]) -> str:
    shapes, others = ({module: (m, k) for module, m, k in modules} for modules in (found, usual))
    parts = [
        (f"{len(shapes.keys() - others)} more", sorted(shapes.keys() - others)),
        (f"{len(others.keys() - shapes)} missing", sorted(others.keys() - shapes)),
    ]
    texts = [f"{count} ({listed(names, 3)})" for count, names in parts if names]
    other = [
        f"{name} of {shapes[name]}, not {others[name]}" for name in others if shapes.get(name, others[name]) != others[name]
    ]
    return ", ".join([*texts, *([f"dW of other shapes ({listed(other, 3)})"] if other else [])])


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


def _scales(opened: list[Opened]) -> Tensor | None:
    distinct = {id(one.scales): one.scales for one in opened}
    if all((scales == 1).all() for scales in distinct.values()):
        return None
    return torch.from_numpy(np.stack([one.scales for one in opened]).astype(np.float32))


class FolderRows(RowSource):
    """Rows of adapter files, each opened, read by one call to the system and closed again."""

    divisible = True

    def __init__(self, folder: str, opened: list[Opened], layout: Layout) -> None:
        self.n, self.p = len(opened), layout.p
        self._folder = folder
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
