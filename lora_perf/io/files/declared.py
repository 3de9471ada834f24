"""The tables of a folder that are one data set: a declared set of shards, whole and of one writing."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.text import counted
from lora_perf.io.files.doubles import copies_of, same_copies
from lora_perf.io.files.tree import Tree, by_parts, parent
from lora_perf.io.members import part_of
from lora_perf.io.splits import chosen, refuse_part

_DECLARED = re.compile(
    r"^(?P<stem>.*?)[-_.]?(?P<index>\d+)[-_]of[-_](?P<total>\d+)(?P<rest>.*)\.(?:parquet|arrow|feather|ipc)$", re.IGNORECASE
)
_SNAPSHOT = re.compile(r"(?P<repository>(?:^|^.*/)snapshots)/(?P<name>[^/]+)/")
_COLUMN = "split="  # how a partition names a split
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shard:
    """A parquet file by what its path says.

    Attributes:
        path: relative to the folder.
        above: the folders above it that are no value of a column (key=value).
        place: those of them that are no split.
        split: the name of its split as it is written, or None.
        stem: of a declared name, stem-00000-of-00002.parquet.
        index, total: of a declared name, else None.
    """

    path: str
    above: str
    place: str
    split: str | None
    stem: str = ""
    index: int | None = None
    total: int | None = None


def shards_of(tree: Tree, folder: str, split: str | None, files: Sequence[str]) -> list[tuple[str, int | None]]:
    """Which of the tables `files` are of the chosen splits, in their order, each with its part in `Zoo.split`, or None.

    All files are taken where no name is that of a split; for `split` see `chosen`.

    Raises:
        LoraPerfError: the files are no single whole set: several snapshots or configurations, shards of several writings,
            a missing shard, copies; a table whose log says which files count; no such split.
    """
    refuse_logs(tree, folder)
    refuse_snapshots(files, folder)
    _refuse_copies(files, folder)
    found = [_read(path, split, folder) for path in files]
    splits = list(dict.fromkeys(one.split for one in found if one.split is not None))
    if not splits:
        refuse_part(split, folder)
        _refuse_mixed(found, folder)
        return [(one.path, None) for one in found]
    taken = dict(chosen(splits, split, folder, alike=True))
    _refuse_twins(taken, folder)
    _refuse_unnamed(found, splits, taken, folder)
    found = [one for one in found if one.split in taken]
    _refuse_places(found, folder)
    for name in taken:
        _refuse_mixed([one for one in found if one.split == name], folder)
    return [(one.path, None if one.split is None else taken[one.split]) for one in found]


def _refuse_twins(taken: Iterable[str], folder: str) -> None:
    """Refuses two names of one part, such as train and Training."""
    names: dict[int, list[str]] = {}
    for name in taken:
        if (part := part_of(name)) is not None:
            names.setdefault(part, []).append(name)
    twins = next((some for some in names.values() if len(some) > 1), None)
    if twins:
        raise LoraPerfError(
            expected=f"one name of each part in {folder}",
            found=f"{listed(twins)}, which mean the same",
            fix="choose one with split=..., or move the other away",
        )


def _refuse_unnamed(found: Sequence[Shard], splits: Sequence[str], taken: Iterable[str], folder: str) -> None:
    unnamed = [one.path for one in found if one.split is None]
    if unnamed and len(splits) == 1 and all(one.total is None for one in found if one.split is not None):
        raise LoraPerfError(
            expected=f"a split or none in the names of all parquet files in {folder}",
            found=f"{splits[0]!r} beside {listed(unnamed, 3)}, so that it may be a split or a name like the others",
            fix="give the path of the file or folder that is meant, or name the files by their splits",
        )
    if unnamed:
        _log.warning(
            "%s: %s of no split left out beside those of %s: %s",
            folder, counted(len(unnamed), "parquet file"), listed(taken), listed(unnamed, 3),
        )  # fmt: skip


def refuse_logs(tree: Tree, folder: str) -> None:
    """Refuses a table of which a log says which files count: files of earlier versions stand beside those of the last."""
    if tree.logs:
        path, kind = tree.logs[0]
        raise LoraPerfError(
            expected=f"files in {folder} that all count",
            found=f"a table of {kind}, whose log {path} says which do",
            fix="read it with its own library and write the rows as parquet to another folder",
        )


def refuse_snapshots(paths: Iterable[str], folder: str) -> None:
    """Refuses several snapshots of one repository in the cache of the Hub."""
    snapshots: dict[str, set[str]] = {}
    for path in paths:
        if "snapshots/" in path and (match := _SNAPSHOT.match(path)):
            snapshots.setdefault(match["repository"], set()).add(match["name"])
    for where, names in snapshots.items():
        if len(names) > 1:
            raise LoraPerfError(
                expected=f"one snapshot in {os.path.join(folder, where).removesuffix('/snapshots')}",
                found=f"{len(names)}, which are versions of the same rows: {listed(sorted(names), 3)}",
                fix="give the path of one of them (.../snapshots/NAME), or keep one",
            )


def _refuse_copies(paths: Sequence[str], folder: str) -> None:
    for path, beside in (copies_of(paths) or same_copies(folder, paths)).items():
        raise LoraPerfError(
            expected=f"each shard once in {folder}",
            found=f"{path}, by its name a copy of {beside}",
            fix="remove one of the two, or rename it where its rows are others",
        )


def _read(path: str, split: str | None, folder: str) -> Shard:
    *folders, name = path.split("/")
    declared = _DECLARED.match(name)
    stem = declared["stem"] if declared else os.path.splitext(name)[0]
    words = re.split("[-_.]", os.path.splitext(name)[0] if declared is None else stem)
    by_file = next((one for one in (stem, words[0], words[-1]) if _is_split(one, split)), None)
    by_folder = [one for one in folders if _is_split(one.removeprefix(_COLUMN), split)]
    named = [*(one.removeprefix(_COLUMN) for one in by_folder), *([by_file] if by_file is not None else [])]
    if len({part_of(one) if part_of(one) is not None else one for one in named}) > 1:
        raise LoraPerfError(
            expected=f"one split for each file in {folder}",
            found=f"{listed(dict.fromkeys(named))} in {path}",
            fix="move or rename the file",
        )
    above = [one for one in folders if "=" not in one]
    places = "/".join(above), "/".join(one for one in above if one not in by_folder)
    if declared is None:
        return Shard(path, *places, named[0] if named else None)
    index, total = int(declared["index"]), int(declared["total"])
    return Shard(path, *places, named[0] if named else None, stem, index, total)


def _is_split(name: str, wanted: str | None) -> bool:
    return part_of(name) is not None or (wanted is not None and name in wanted.split("+"))


def _refuse_places(found: Sequence[Shard], folder: str) -> None:
    """Refuses shards of several folders."""
    places = Counter(one.place for one in found)
    if len(places) > 1:
        names = [place or "the folder itself" for place in sorted(places, key=by_parts)]
        raise LoraPerfError(
            expected=f"the shards of one data set in {folder}",
            found=f"parquet files in {len(places)} folders: {listed(names, 3)} (configurations, or several data sets)",
            fix="give the path of one of them",
        )


def _refuse_mixed(found: Sequence[Shard], folder: str) -> None:
    """Refuses shards of several sets, or of one that is not whole."""
    _refuse_places(found, folder)
    above = {one.above: one.path for one in found}
    if len(above) > 1:
        raise LoraPerfError(
            expected=f"the files of one split in one folder of {folder}",
            found=listed(above.values(), 3),
            fix="keep the files of one of these folders",
        )
    sets: dict[tuple[str, int | None], list[Shard]] = {}
    for one in found:
        sets.setdefault((parent(one.path) + "/" + one.stem if one.total is not None else "", one.total), []).append(one)
    if len({total is None for _, total in sets}) > 1 or len(sets) > len({where for where, _ in sets}) or _several(sets):
        examples = [one[0].path for one in sets.values()]
        raise LoraPerfError(
            expected=f"the shards of one writing in {folder}",
            found=f"files of {len(sets)} sets: {listed(examples, 4)}",
            fix="keep the files of one of them, or choose one with split=... where they are splits",
        )
    for (_, total), shards in sets.items():
        if total is not None:
            _refuse_incomplete(shards, total, folder)


def _several(sets: Iterable[tuple[str, int | None]]) -> bool:
    """Whether declared sets stand in one folder; partitions (key=value) have one each."""
    places = Counter(parent(where) for where, total in sets if total is not None)
    return any(count > 1 for count in places.values())


def _refuse_incomplete(shards: Sequence[Shard], total: int, folder: str) -> None:
    by_index: dict[int, list[Shard]] = {}
    for one in shards:
        by_index.setdefault(one.index or 0, []).append(one)
    twice = next((some for some in by_index.values() if len(some) > 1), None)
    if twice is not None:
        raise LoraPerfError(
            expected=f"each shard once in {folder}",
            found=f"{listed((one.path for one in twice), 3)}",
            fix="keep the shards of one writing",
        )
    missing = [f"{index:05d}" for index in range(total) if index not in by_index]
    beyond = [some[0].path for index, some in by_index.items() if index >= total]
    if beyond:
        raise LoraPerfError(
            expected=f"shards from 0 to {total - 1} in {folder}", found=listed(beyond, 3), fix="keep the shards of one writing"
        )
    if missing:
        raise LoraPerfError(
            expected=f"all {total} shards of {shards[0].path} in {folder}",
            found=f"{len(shards)}, without {listed(missing, 3)}",
            fix="fetch the missing files",
        )
