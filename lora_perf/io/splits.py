"""Parts of a source (train, validation, test): what `split=` takes of them, and which become the zoo's own split."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.members import DEFAULT_COLUMN, part_of

EVERY = "all"
_USES = ("training", "validation", "testing")
_log = logging.getLogger(__name__)


def chosen(names: Iterable[str], split: str | None, where: str, *, alike: bool = False) -> list[tuple[str, int | None]]:
    """The parts that are taken, each with its number in `Zoo.split`, or None where the zoo has no split of its own.

    >>> chosen(["train", "test"], None, "zoo")
    [('train', 0), ('test', 2)]
    >>> chosen(["train", "test"], "test", "zoo")
    [('test', None)]

    Args:
        names: of all parts, in their order.
        split: a name; several joined by "+"; "all"; None for all of them, where nothing is to be chosen: there is one, or
            each is a part for training, validation or testing.
        where: the source, for messages.
        alike: whether a part is also found by another name that means the same, as those of files are.

    Raises:
        LoraPerfError: no such part; a slice; parts of other names and nothing that chooses.
    """
    known = list(names)
    if split is None:
        others = [name for name in known if part_of(name) is None]
        if len(known) > 1 and others:
            raise LoraPerfError(
                expected=f"a choice among the splits of {where}, since not all of them are for training, validation or testing",
                found=f"the splits {listed(known)}",
                fix=_CHOOSE,
            )
        wanted = known
    elif split in known:
        wanted = [split]
    elif split == EVERY:
        wanted = known
    else:
        refuse_slice(split, where)
        wanted = [_named(name, known, where, alike) for name in split.split("+")]
        if len(set(wanted)) < len(wanted):
            raise no_split(where, split, known)
    numbers = [part_of(name) for name in wanted]
    own = len(wanted) > 1 and None not in numbers
    return list(zip(wanted, numbers if own else [None] * len(wanted), strict=True))


_CHOOSE = "choose with split=... (one name, several as a+b, or all)"


def _named(name: str, known: Sequence[str], where: str, alike: bool) -> str:
    """A part as the source calls it: by its own name, or as the only one that means the same (valid for validation)."""
    if name in known:
        return name
    part = part_of(name) if alike else None
    same = [one for one in known if part is not None and part_of(one) == part]
    if len(same) != 1:
        raise no_split(where, name, known)
    return same[0]


def no_split(where: str, split: str, known: Iterable[str]) -> LoraPerfError:
    """The error for a part that is not there."""
    return LoraPerfError(
        expected=f"a split {split!r} in {where}", found=f"the splits {listed(known) or 'of no name'}", fix=_CHOOSE
    )


def refuse_slice(split: str, where: str) -> None:
    """Refuses a slice such as `train[:5]`, which only the Hub's library reads."""
    if "[" in split:
        raise LoraPerfError(
            expected=f"whole splits of {where}",
            found=f"the slice {split!r}",
            fix="take whole splits, or load(dataset.select(range(...))) with the rows that you want",
        )


def refuse_split(split: str | None, what: str) -> None:
    """Refuses a part, other than "all", of a source that is taken whole."""
    if split not in (None, EVERY):
        raise LoraPerfError(
            expected=f"no split=... for {what}, which is taken whole with its own Zoo.split",
            found=f"split={split!r}",
            fix="leave it out",
        )


def refuse_part(split: str | None, where: str) -> None:
    """Refuses a part of a table that names none; "train", the part of a single one, is the whole of it."""
    if split not in (None, EVERY, "train"):
        refuse_slice(str(split), where)
        raise no_split(where, str(split), ["train: a single table is taken whole, with its column split as Zoo.split"])


def refuse_choices(label_column: str | None, split: str | None, what: str) -> None:
    """Refuses a column of labels, other than the default, or a part of a zoo that has its labels and is taken whole."""
    refuse_split(split, what)
    if label_column != DEFAULT_COLUMN:
        raise LoraPerfError(
            expected=f"no label_column=... (--label-column) for {what}, whose labels are part of it",
            found=f"label_column={label_column!r}",
            fix="leave it out, or load the data set that it was packed from with this column",
        )


def split_of_parts(counts: Sequence[int], numbers: Sequence[int | None], where: str) -> Tensor | None:
    """(n,) the part of each row, of parts of so many rows; None where a part has no number, or one alone has all rows."""
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return None
    filled = {number for number, count in zip(known, counts, strict=True) if count}
    if len(filled) == 1:
        _log.warning("%s: all rows are for %s, which is no split", where, _USES[filled.pop()])
        return None
    return torch.repeat_interleave(torch.tensor(known), torch.tensor(counts))
