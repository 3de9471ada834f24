"""The adapter files of a folder, opened one by one; whatever is wrong with one is a finding, not an error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.making import encode
from lora_perf.core.text import counted
from lora_perf.core.zoo import SPLIT_NAMES, Zoo
from lora_perf.inspect.findings import FileFacts, Finding
from lora_perf.io.dialects.kinds import EXPERTS, config_kinds, mlx_kinds
from lora_perf.io.dialects.names import parse_part
from lora_perf.io.dialects.reading import UNREAD, kinds_of
from lora_perf.io.dialects.scales import is_mlx
from lora_perf.io.files.adapter import SIZES, layout_of
from lora_perf.io.files.agreeing import align, tables_of
from lora_perf.io.files.classes import alike, declared, members
from lora_perf.io.files.doubles import refuse_checkpoints
from lora_perf.io.files.folder import FolderRows, read_all
from lora_perf.io.files.metadata import read_object
from lora_perf.io.files.others import leave_others
from lora_perf.io.files.reader import WHOLE_ADAPTER, Opened
from lora_perf.io.files.tree import Tree, parent
from lora_perf.io.headers import read_header
from lora_perf.io.members import Member, split_of

Modules = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Files:
    """The adapters of a folder.

    Attributes:
        families: adapters by their modules, the commonest first.
        classes: the class of each file by its path; empty where the folder names none.
        split: the part of each file by its path; empty where there is none.
        problems, notes: what was found in the headers and the tables of classes.
    """

    families: tuple[tuple[Opened, ...], ...]
    classes: Mapping[str, str]
    split: Mapping[str, str]
    facts: FileFacts
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]


def open_files(
    folder: str, tree: Tree, label_column: str | None, *, single: bool = False, progress: Callable[[int], object] | None = None
) -> Files:
    """Opens every adapter file of a folder.

    Args:
        single: the file alone was asked for, so that nothing names its class.

    Cost: the header of each file is read; those that equal an earlier one are not parsed again. Files that cannot be used are
    read twice.
    """
    problems: list[Finding] = []
    files = read_all(folder, tree, progress)
    bad = frozenset(path for path, one in files.items() if not isinstance(one, Opened))
    if not single:
        leave_others(folder, tree, label_column)
    found, split = _members(folder, tree, label_column, single, bad, problems)
    opened: list[Opened] = []
    for member in found:
        if member.error is not None:
            problems.append(Finding("labels", str(member.error), (member.path,)))
        one = files.get(member.path)
        if isinstance(one, Opened):
            one.member = member
            opened.append(one)
    problems += [_fault(folder, tree, path, one) for path, one in files.items() if isinstance(one, LoraPerfError)]
    problems += _stated(opened)
    align(opened)
    families: dict[Modules, list[Opened]] = {}
    for one in opened:
        families.setdefault(one.meaning.modules, []).append(one)
    ordered = sorted(families.values(), key=len, reverse=True)  # stable: of those as frequent, the first's
    problems += _other_modules(ordered)
    labelled = {} if single else {member.path: str(member.label) for member in found if member.label != ""}
    return Files(
        tuple(map(tuple, ordered)),
        labelled,
        split,
        _facts(tree, opened),
        tuple(problems),
        tuple(_notes(tree, opened, labelled.values())),
    )


def zoo_of(folder: str, family: tuple[Opened, ...]) -> Zoo:
    """The adapters of one set of modules as a zoo without classes."""
    layout = layout_of(list({id(one.meaning): one.meaning for one in family}.values()))
    return Zoo(FolderRows(folder, list(family), layout), layout, **tables_of(family))


def _members(
    folder: str, tree: Tree, label_column: str | None, single: bool, bad: frozenset[str], problems: list[Finding]
) -> tuple[list[Member], dict[str, str]]:
    """The files with their classes, and the parts of a split; without what is amiss there."""
    unlabelled = [Member(path) for path in tree.adapters]
    if single:
        return unlabelled, {}
    usable = [path for path in tree.adapters if path not in bad]
    if not declared(tree, usable):
        try:
            refuse_checkpoints(usable, folder)
        except LoraPerfError as error:
            problems.append(Finding("repeated", str(error)))
    try:
        found = members(folder, tree, label_column, bad)
    except LoraPerfError as error:
        problems.append(Finding("labels", str(error)))
        return unlabelled, {}
    try:
        encode([member.label for member in found if member.error is None])
        split_of([member for member in found if member.error is None])
    except LoraPerfError as error:
        problems.append(Finding("labels", str(error)))
    return found, {member.path: SPLIT_NAMES[member.split] for member in found if member.split is not None}


def _fault(folder: str, tree: Tree, path: str, error: LoraPerfError) -> Finding:
    """What kind of fault an error was, by a second look at the header."""
    try:
        header = read_header(f"{folder}/{path}")
    except LoraPerfError:
        return Finding("unreadable", f"{path}: {error.found}", (path,))
    text = f"{path}: {error.found}"
    if not header.entries or error.expected.startswith(WHOLE_ADAPTER):
        return Finding("incomplete", text, (path,))
    parts = {name: part for name in header.entries if (part := parse_part(name)) is not None}
    found = kinds_of(header.entries, parts) or _config_kinds(folder, tree, path)
    if found:
        return Finding("unsupported", f"{path}: {listed(found)}", (path,))
    if EXPERTS in error.found:
        return Finding("unsupported", text, (path,))
    if error.found.startswith(UNREAD):
        return Finding("unread", text, (path,))
    if not parts:
        return Finding("no adapter", text, (path,))
    sides = Counter((part.dialect, part.shared) for part in parts.values())
    single = sorted(name for name, part in parts.items() if sides[part.dialect, part.shared] == 1)
    if single:
        return Finding("unpaired", f"{path}: {len(single)} without partner: {listed(single, 3)}", (path,))
    if any(header.entries[name].dtype not in SIZES for name in parts):
        return Finding("storage", f"{path}: weights of dtype {error.found}", (path,))
    return Finding("refused", str(error), (path,))


def _config_kinds(folder: str, tree: Tree, path: str) -> tuple[str, ...]:
    if parent(path) not in tree.configs:
        return ()
    try:
        config = read_object(os.path.join(folder, tree.configs[parent(path)]))
    except LoraPerfError:
        return ()
    return mlx_kinds(config) if is_mlx(config) else config_kinds(config)


def _stated(opened: list[Opened]) -> Iterable[Finding]:
    """What files state of their scales and do not hold, a finding a statement."""
    told: dict[str, list[str]] = {}
    for one in opened:
        for problem in (*one.meaning.reading.problems, *one.problems):
            told.setdefault(problem, []).append(one.member.path)
    for problem, paths in told.items():
        yield Finding("stated", f"{listed(paths, 3)}: {problem}", tuple(paths))


def _other_modules(families: list[list[Opened]]) -> Iterable[Finding]:
    for family in families[1:]:
        shapes, usual = ({module: (m, k) for module, m, k in one[0].meaning.modules} for one in (family, families[0]))
        missing, more = sorted(usual.keys() - shapes), sorted(shapes.keys() - usual)
        other = sorted(name for name in usual.keys() & shapes if usual[name] != shapes[name])
        parts = [
            f"{len(names)} of {len(usual)} modules {what} ({listed(names, 3)})"
            for names, what in ((missing, "missing"), (other, "of another shape"))
            if names
        ]
        parts += [f"{len(more)} more ({listed(more, 3)})"] if more else []
        paths = tuple(one.member.path for one in family)
        yield Finding("modules", f"{listed(paths, 3)}: {', '.join(parts)}", paths)


def _facts(tree: Tree, opened: list[Opened]) -> FileFacts:
    dtypes: Counter[str] = Counter()
    of_meaning: dict[int, str] = {}
    for one in opened:
        key = id(one.meaning)
        if key not in of_meaning:
            names = {name for pair in one.meaning.reading.pairs for name in (pair.down, pair.up)}
            of_meaning[key] = " + ".join(sorted({one.meaning.entries[name].dtype for name in names}))
        dtypes[of_meaning[key]] += 1
    return FileFacts(
        found=len(tree.adapters),
        opened=len(opened),
        dialects=dict(Counter(one.meaning.reading.dialect for one in opened).most_common()),
        dtypes=dict(dtypes.most_common()),
        modules=dict(Counter(len(one.meaning.modules) for one in opened).most_common()),
        alphas=sum(bool(one.meaning.alphas) for one in opened),
        rslora=sum(one.meaning.reading.rslora for one in opened),
        pickles=tree.pickles,
    )


def _notes(tree: Tree, opened: list[Opened], classes: Iterable[str]) -> Iterable[Finding]:
    for line in tree.told():
        yield Finding("left alone", line)
    if twins := alike(sorted(set(classes))):
        yield Finding("classes", f"nearly the same name: {listed(twins, 3)}")
    if tree.pickles:
        yield Finding("pickles", f"{counted(tree.pickles, 'file')} such as .bin and .pt left alone: nothing is unpickled")
    told: dict[str, list[str]] = {}
    for one in opened:
        reading = one.meaning.reading
        for note in reading.notes:
            told.setdefault(note, []).append(one.member.path)
        if reading.other:
            told.setdefault(f"tensors that are no LoRA: {listed(reading.other, 3)}", []).append(one.member.path)
        if reading.unknown:
            told.setdefault(f"modules of unknown dotted names: {listed(reading.unknown, 3)}", []).append(one.member.path)
    for note, paths in told.items():
        yield Finding("headers", f"{counted(len(paths), 'file')}: {note}", tuple(paths))
