"""Where zoos come from: one reader a file, `load` finds the right one.

Comes in: paths, Hub ids, names, tables and state dicts in memory, readers of users.
Goes out: a `Zoo`, with the names and all else that its source says of the adapters; packed files.
Import from here: `load`, `pack`, `reader`; `store` for packed files, `atomic` for any file that is whole or not there.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_perf.core.ambient import in_plain_torch
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.zoo import Zoo
from lora_perf.distributed import refuse_scheduler
from lora_perf.io import store
from lora_perf.io.hub import ALIASES, DATASETS, is_hub_id, open_hub
from lora_perf.io.members import DEFAULT_COLUMN
from lora_perf.io.readers import NAMED, Reader, asked, reader, scheme_of, shown
from lora_perf.io.splits import refuse_choices, refuse_split
from lora_perf.io.targets import refuse_weights

if TYPE_CHECKING:
    from typing import TypeAlias

    from lora_perf.io.paths import Found

    Source: TypeAlias = str | Path | Zoo | Any  # Any: datasets.Dataset or DatasetDict, whose library is imported on use

_ENDING = re.compile(r"\.(safetensors|parquet|arrow|feather|ipc|json|jsonl|csv|txt|bin|pt|zip|tar|gz)$", re.IGNORECASE)
_COMMON = ("http", "https", "s3", "gs", "file", "ftp")  # schemes of addresses that mean files
_log = logging.getLogger(__name__)
__all__ = ["is_hub", "load", "locate", "open_located", "pack", "reader"]


@in_plain_torch
def load(source: Source, *, label_column: str | None = DEFAULT_COLUMN, split: str | None = None, skip_bad: bool = False) -> Zoo:
    """Opens a zoo; weights are read when they are used.

    The names of embedded zoos and the aliases count first, then users' readers are asked (see `reader`), then the formats of
    the package by what stands at the path; what stands at none is a data set of the Hub.

        >>> len(load("digits")), load("digits").classes[:3]
        (1000, ['zero', 'one', 'two'])

    Args:
        source: the name of an embedded zoo ("digits", "digits-shared", "digits-mixed"); a Hub alias ("1k", "10k", "50k",
            "100k", "small", "sanity-check") or id, also as hf://datasets/OWNER/NAME; repositories of adapters on the Hub:
            hf://OWNER/NAME for all that one holds, a list of names (or of pairs of a name and a class) or the path of a .txt
            of them for one adapter each; the path of a packed file, of a `save_to_disk` folder, of parquet or Arrow files or
            of a folder of adapter files; a `datasets.Dataset` or `DatasetDict`; a `pyarrow.Table`, or what shows itself as
            one; a list of state dicts or a mapping of them by name, a mapping of columns with tensors (n, rows, columns), a
            DataFrame (see `lora_perf.io.memory`); what a user's reader knows.
        label_column: the column of the labels, in data sets and in the metadata of adapter files; None for a zoo without
            labels, which is also what there is where no class and no column of the default's name is.
        split: a part of a data set that has several ("test"), several parts ("train+test") or "all"; by default all of them
            where they are for training, validation and testing, and then they are the split of the zoo (`Zoo.split`). A
            folder of adapter files is taken whole, with its `Zoo.split`.
        skip_bad: leave adapters out that cannot be used, with a warning each, and list them in `Zoo.skipped`: files that are
            no adapters or of other modules than most, and adapters that hold a NaN or infinity, for which all weights are
            read once.

    Raises:
        LoraPerfError: the source is none of these, or something in it is amiss (see the readers).
    """
    if isinstance(source, Zoo):
        refuse_choices(label_column, split, "a Zoo")
        return _finite(source) if skip_bad else source
    if not isinstance(source, str | Path):
        zoo = _of_object(source, label_column, split, skip_bad)
    elif (found := locate(source, split)) is not None:
        return open_located(found, label_column=label_column, split=split, skip_bad=skip_bad)
    else:
        zoo = _by_name(str(source), source, label_column, split, skip_bad)
    return _finite(zoo) if skip_bad else zoo


def locate(source: str | Path, split: str | None = None) -> Found | None:
    """What stands at a path; None where a source is none, but the name of an embedded zoo or of a data set.

    Raises:
        LoraPerfError: what stands there is no zoo, or several.
    """
    name = str(source)
    path = Path(os.path.expanduser(source))  # as it is where there is no such user
    if not name or name in shown() or name in ALIASES:
        return None
    own = asked(name)
    if own is None and not os.path.exists(path):  # False for a path that cannot be
        return None
    from lora_perf.io.paths import find, of_reader  # with all readers of files, which embedded zoos do without

    return find(path, split) if own is None else of_reader(own, name)


def is_hub(source: Source) -> bool:
    """Whether a source is the id or the alias of a data set of the Hub, and nothing that stands here."""
    if not isinstance(source, str) or source in NAMED or locate(source) is not None:
        return False
    return source in ALIASES or source.startswith(DATASETS) or (is_hub_id(source) and not _means_file(source))


def open_located(
    found: Found, *, label_column: str | None = DEFAULT_COLUMN, split: str | None = None, skip_bad: bool = False
) -> Zoo:
    """The zoo of what `locate` found, as `load` opens it."""
    from lora_perf.io.opening import open_found

    if found.reader is not None:
        return _of_reader(found, found.reader, label_column, split, skip_bad)
    zoo = open_found(found, label_column, split, skip_bad)
    return _finite(zoo) if skip_bad else zoo


def pack(
    source: Source,
    path: str | Path,
    *,
    label_column: str | None = DEFAULT_COLUMN,
    split: str | None = None,
    skip_bad: bool = False,
    scheduler: str | None = None,
) -> Path:
    """Writes any source as a packed file, in a stream: memory does not grow with the zoo.

    Args:
        source, label_column, split, skip_bad: as `load` takes them. The parquet files of a data set of the Hub are taken one
            after the other, each thrown away when its rows are written, and no cache of the Hub's libraries is filled; the
            same call goes on where one was interrupted.
        scheduler: HOST:PORT of a Dask scheduler, or "local:N" for N processes here, which read the rows and write them at
            their place; they see the source and the folder of the file under the same paths.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(load(pack("digits", f"{folder}/zoo.safetensors")))
    1000

    Raises:
        LoraPerfError: what `load` refuses; a path that cannot be written, or where weights of another kind stand.
    """
    target = Path(os.path.expanduser(path))
    refuse_weights(target)
    refuse_scheduler(scheduler)
    if scheduler is None and not skip_bad and is_hub(source):
        from lora_perf.io.arriving import arrived

        if arrived(str(source), target, label_column=label_column, split=split) is not None:
            return target
    store.write(load(source, label_column=label_column, split=split, skip_bad=skip_bad), target, scheduler=scheduler)
    return target


def _of_reader(found: Found, own: Reader, label_column: str | None, split: str | None, skip_bad: bool) -> Zoo:
    """The zoo of what a user's reader returns."""
    made = own.function(found.place)
    if isinstance(made, str | Path) and own.knows(str(made)):
        raise LoraPerfError(
            expected=f"a Zoo, data or another path from the reader {own.name!r}",
            found=f"{str(made)!r}, which is its own to read",
            fix="return what is in it",
        )
    try:
        zoo = load(made, label_column=label_column, split=split, skip_bad=skip_bad)
    except LoraPerfError as error:
        raise error.but(expected=f"{error.expected}, from the reader {own.name!r}") from error
    if not isinstance(made, Zoo):
        zoo.name = found.name
    return _finite(zoo) if skip_bad and isinstance(made, Zoo) else zoo


def _finite(zoo: Zoo) -> Zoo:
    from lora_perf.io.finite import without_non_finite

    return without_non_finite(zoo)


def _by_name(name: str, source: str | Path, label_column: str | None, split: str | None, skip_bad: bool) -> Zoo:
    """A zoo that stands at no path, or whose name comes before that of a path."""
    if (name in NAMED or name in ALIASES) and os.path.exists(name):
        _log.warning("%s is the name of a zoo of its own: write ./%s for what stands here", name, name)
    if name in NAMED:
        refuse_choices(label_column, split, NAMED[name].title)
        return NAMED[name].open()
    if name in ALIASES:
        return open_hub(ALIASES[name], label_column, split, name)
    if name.startswith(DATASETS):
        return open_hub(name.removeprefix(DATASETS), label_column, split, name.removeprefix(DATASETS))
    if scheme_of(name) == "hf":
        from lora_perf.io.repositories import open_repository

        refuse_split(split, f"the repository {name}")
        return open_repository(name, label_column=label_column, skip_bad=skip_bad)
    if scheme_of(name) is not None:
        raise LoraPerfError(
            expected="a path, or a data set of the Hub by its id",
            found=f"the address {name}",
            fix="give the id alone (OWNER/NAME), or fetch the files and give the path of their folder"
            + "; for an address of your own name the module of its reader with --import" * (scheme_of(name) not in _COMMON),
        )
    if isinstance(source, str) and is_hub_id(name):
        if _means_file(name):
            raise LoraPerfError(
                expected=f"a file or folder at {name}",
                found=f"none in {os.path.abspath(os.path.dirname(name))}, which is there"
                if os.path.isdir(os.path.dirname(name))
                else "none, and its ending is that of a file",
                fix="check the spelling of the path",
            )
        return open_hub(name, label_column, split, name)
    raise LoraPerfError(
        expected=f"a path, a Hub id, an embedded zoo ({listed(shown())}) or a Hub alias ({listed(ALIASES)})",
        found=f"{name!r}, which is {'a link that leads nowhere' if _is_link(source) else 'none'}",
        fix="check the spelling of the path",
    )


def _means_file(name: str) -> bool:
    """Whether what could be an id is meant as a path, by its folder, which is there, or by its ending."""
    return os.path.isdir(os.path.dirname(name)) or _ENDING.search(name) is not None


def _is_list(source: Any) -> bool:
    """Whether it is a list of names, pairs of a name and a class, or a mapping of names to classes."""
    if isinstance(source, Mapping):
        return any("/" in str(one) for one in source) and all(isinstance(one, str) for pair in source.items() for one in pair)
    if not isinstance(source, list | tuple) or not any("/" in str(one) for one in source):
        return False
    return all(
        isinstance(one, str) or (isinstance(one, tuple) and len(one) == 2 and all(isinstance(part, str) for part in one))
        for one in source
    )


def _is_link(source: str | Path) -> bool:
    try:
        return os.path.islink(os.path.expanduser(source))
    except ValueError:  # a name that no path can have
        return False


def _of_object(source: Any, label_column: str | None, split: str | None, skip_bad: bool) -> Zoo:
    if _is_list(source):
        from lora_perf.io.repositories import open_list, wanted_of

        refuse_split(split, "the list of repositories")
        return open_list(wanted_of(source, "the list"), label_column=label_column, skip_bad=skip_bad, name="repositories")
    from lora_perf.io.memory import state_dicts_of, table_of, zoo_of_state_dicts
    from lora_perf.io.tables.hf import is_arrow, zoo_of_arrow, zoo_of_data

    if (table := table_of(source)) is not None:
        return zoo_of_arrow(table, label_column, split, type(source).__name__)
    if (found := state_dicts_of(source)) is not None:
        return zoo_of_state_dicts(*found, label_column, split, "state dicts")
    reader = zoo_of_arrow if is_arrow(source) else zoo_of_data
    return reader(source, label_column, split, type(source).__name__)
