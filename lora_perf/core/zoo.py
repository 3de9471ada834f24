"""The zoo: a collection of adapters of one layout, as one row-major matrix."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.adapter import Adapter, AdapterDataset
from lora_perf.core.digest import DamagedError as DamagedError
from lora_perf.core.digest import Hashed as Hashed
from lora_perf.core.digest import Promise as Promise
from lora_perf.core.digest import hashed
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.given import floats_of, whole_of
from lora_perf.core.layout import Layout
from lora_perf.core.making import check, encode, stacked
from lora_perf.core.matrix import BLOCK_NBYTES as BLOCK_NBYTES
from lora_perf.core.matrix import Matrix
from lora_perf.core.metadata import Column, Metadata, named, row_names
from lora_perf.core.metadata import Skipped as Skipped
from lora_perf.core.rows import ArrayRows as ArrayRows
from lora_perf.core.rows import Chosen, chosen, row_numbers, single_row
from lora_perf.core.rows import FloatRows as FloatRows
from lora_perf.core.rows import RowSource as RowSource
from lora_perf.core.showing import card_of_zoo
from lora_perf.core.split import SPLIT_NAMES as SPLIT_NAMES

# What stands for numbers: a tensor, an array of any library, nested lists.
Numbers: TypeAlias = Tensor | NDArray[Any] | Sequence[Any]
Labels: TypeAlias = Tensor | NDArray[Any] | Sequence[str] | Sequence[int]


class Zoo(Matrix):
    """Adapters of one layout, with a label each where there are some: `rows` (n, p), `labels` (n,), `classes`, `layout`.

    Nothing is read before it is used: `rows` reads or maps all of them on first use, `blocks` streams.

    >>> import lora_perf
    >>> zoo = lora_perf.load("digits")
    >>> zoo.rows.shape, zoo.classes[:3], zoo.names[17], len(zoo.train), len(zoo.test), len(zoo[[5, 1]])
    (torch.Size([1000, 720]), ['zero', 'one', 'two'], 'row 17', 700, 200, 2)
    >>> zoo[zoo.labels == 3]
    Zoo 'digits': 100 adapters
    classes  1 of 10 (three), 100 of each
    layers   24, 12 modules of rank 1, 720 parameters
    weights  288 kB, 100 of 1,000 in the packed file ...
    split    70 train, 10 validation, 20 test

    Args:
        source: where the rows come from.
        layout: the layers; its p is the width of the rows.
        labels: (n,) class indices; None where nothing is known of the adapters' classes.
        classes: the name of each class index; none without labels.
        split: (n,) 0 train, 1 validation, 2 test, where the zoo carries a split of its own.
        name: what the zoo is called in reports.
        scales: (n, modules) the factor s of dW = s B A, in the order of `layout.modules`, where it is not 1.
        ranks: (n, modules) the rank of each adapter's factors, where they differ; the layout then has the largest of each
            module, and smaller factors are filled with zeros, which leave dW as it is.
        skipped: adapters that were left out when the zoo was opened.
        names: of the adapters, such as the paths of their files; None where they have numbers only.
        metadata: all else that the source says of the adapters, one value each in columns by name.
        promise: what the file that holds all of this says of it.
        origin: where it was published, with the revision: `hf://datasets/OWNER/NAME@COMMIT`.

    A zoo can be pickled and copied: rows in memory go along, others are read again from where they stand, and a source that
    changed meanwhile is refused there.

    Raises:
        LoraPerfError: sizes that contradict each other, labels outside the classes.
    """

    writer: ClassVar[Callable[[Zoo, Path], Hashed]]  # of packed files, which stands in a room below this one

    def __init__(
        self,
        source: RowSource,
        layout: Layout,
        labels: Numbers | None = None,
        classes: Sequence[str] = (),
        *,
        split: Numbers | None = None,
        name: str = "zoo",
        scales: Numbers | None = None,
        ranks: Numbers | None = None,
        skipped: Sequence[Skipped] = (),
        names: Sequence[str] | Column | None = None,
        metadata: Mapping[str, Any] | None = None,
        promise: Promise | None = None,
        origin: str | None = None,
    ) -> None:
        self.source = source
        self.layout = layout
        self.scales = None if scales is None else torch.from_numpy(np.require(floats_of(scales, "scales"), requirements="W"))
        self.ranks = None if ranks is None else whole_of(ranks, "ranks").to(torch.int64)
        self.labels = None if labels is None else whole_of(labels, "labels").to(torch.int64)
        self.classes = [str(name) for name in classes]
        self.split = None if split is None else whole_of(split, "split")
        check(source, layout, self.labels, self.classes, self.split, {"scales": self.scales, "ranks": self.ranks}, names)
        self.name = name
        self.skipped = tuple(skipped)
        self.given_names = names if names is None or isinstance(names, Column) else Column(names)
        self.metadata = Metadata(metadata.columns if isinstance(metadata, Metadata) else metadata, source.n)
        self.promise = promise
        self.origin = origin
        self.original: Zoo | None = None  # under other labels

    def __getstate__(self) -> dict[str, Any]:
        again = ("rows", "names")  # which the source gives again
        return {name: value for name, value in self.__dict__.items() if name not in again}

    def __setstate__(self, state: dict[str, Any]) -> None:
        before = {
            "origin": None,
            "original": None,
            "given_names": None,
            "metadata": Metadata(n=state["source"].n),
        }  # which pickles of before have not
        names = state.pop("names", None)
        self.__dict__ |= before | state | ({} if names is None else {"given_names": Column(names)})

    @classmethod
    def from_rows(
        cls,
        rows: Numbers,
        layout: Layout,
        labels: Numbers | None = None,
        classes: Sequence[str] = (),
        *,
        split: Numbers | None = None,
        name: str = "zoo",
        scales: Numbers | None = None,
        ranks: Numbers | None = None,
        names: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Zoo:
        """A zoo of rows (n, p) that are in memory, as tensors, arrays or lists; float32 rows are shared, others converted.

        >>> layout = Layout([("a.lora.down.weight", (2, 5)), ("a.lora.up.weight", (4, 2))])
        >>> Zoo.from_rows(torch.ones(3, 18), layout, names=["x", "y", "z"])[1].name
        'y'
        """
        said: dict[str, Any] = {"split": split, "name": name, "scales": scales, "ranks": ranks}
        array = np.require(floats_of(rows, "rows"), requirements="W")  # torch takes no others without a warning
        return cls(ArrayRows(array), layout, labels, classes, **said, names=names, metadata=metadata)

    @classmethod
    def from_tensors(cls, layers: Mapping[str, Numbers], labels: Labels | None = None, **said: Any) -> Zoo:
        """A zoo of the layers of n adapters, each a tensor (n, rows, columns) by its name; they are copied.

        Args:
            labels: of any values, one an adapter; class indices where `classes` is given too.
            said: what `Zoo` takes by name: split, name, names, metadata, scales.

        Raises:
            LoraPerfError: layers of different n or of names that are no factors, and what `Zoo` refuses.

        >>> layers = {"a.lora.down.weight": torch.ones(3, 2, 5), "a.lora.up.weight": torch.ones(3, 4, 2)}
        >>> zoo = Zoo.from_tensors(layers, ["dog", "cat", "dog"])
        >>> zoo.classes, zoo.labels.tolist(), zoo.rows.shape
        (['cat', 'dog'], [1, 0, 1], torch.Size([3, 18]))
        """
        shapes, rows = stacked(layers)
        if labels is not None and "classes" not in said:
            labels, said["classes"] = encode(labels.tolist() if hasattr(labels, "tolist") else list(labels))
        return cls(ArrayRows(rows), Layout(shapes), labels, **said)

    def __repr__(self) -> str:
        return repr(card_of_zoo(self, SPLIT_NAMES))

    def _repr_html_(self) -> str:
        return card_of_zoo(self, SPLIT_NAMES).html()

    def called(self, i: int) -> str:
        """What messages call adapter i: by its name and number, or by its number alone."""
        return f"adapter {i} ({self.names[i]})" if self.named else f"adapter {i}"

    @property
    def named(self) -> bool:
        """Whether the source names its adapters; `names` counts them otherwise."""
        return self.given_names is not None

    @cached_property
    def names(self) -> list[str]:
        """(n) what each adapter is called: its path or id in the source, else "row 17"."""
        return [str(name) for name in named(self.given_names, len(self)).values()]

    @property
    def required_labels(self) -> Tensor:
        """The labels (n,), for those who cannot do without.

        Raises:
            LoraPerfError: the zoo has none.
        """
        if self.labels is None:
            columns = f", though columns of metadata ({listed(self.metadata)})" if self.metadata else ""
            raise LoraPerfError(
                expected=f"adapters with labels in {self.name}",
                found=f"none{columns}",
                fix="name the column of the labels, label_column=... (--label-column), or give each class a folder of its own",
            )
        return self.labels

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Adapter: ...
    @overload
    def __getitem__(self, rows: Chosen) -> Zoo: ...
    def __getitem__(self, rows: int | np.integer[Any] | Chosen) -> Adapter | Zoo:
        """One adapter by its row, or the zoo of several as `select` gives it."""
        single = single_row(rows, len(self))
        return self.select(cast(Chosen, rows)) if single is None else Adapter(self, single)

    def __iter__(self) -> Iterator[Adapter]:
        return (Adapter(self, i) for i in range(len(self)))

    @property
    def train(self) -> Zoo:
        """The train part of the zoo's own split, as a zoo."""
        return self._part(0)

    @property
    def validation(self) -> Zoo:
        """The validation part of the zoo's own split, as a zoo."""
        return self._part(1)

    @property
    def test(self) -> Zoo:
        """The test part of the zoo's own split, as a zoo."""
        return self._part(2)

    def _part(self, part: int) -> Zoo:
        if self.split is None or not bool((self.split == part).any()):
            raise LoraPerfError(
                expected=f"{SPLIT_NAMES[part]} adapters in {self.name} by a split of its own",
                found="no split" if self.split is None else "none of them",
                fix="choose them with zoo.select(rows), or load data with a split of its own (a column split, parts as files)",
            )
        return self.select(self.split == part)

    def dataset(self) -> AdapterDataset:
        """The zoo as a data set of torch: item i is (row (p,), label)."""
        return AdapterDataset(self)

    def save(self, path: str | Path) -> Path:
        """Writes the zoo as a packed file, which `lora_perf.load` opens at once; memory does not grow with the zoo.

        Raises:
            LoraPerfError: the path cannot be written.
        """
        target = Path(path).expanduser()
        self.writer(target)
        return target

    def select(self, rows: Chosen) -> Zoo:
        """The zoo of some adapters, in the order given here; no weight is read.

        Args:
            rows: row numbers (negative ones from the end), a slice, or n booleans.

        Raises:
            LoraPerfError: rows that are not there, or no row.

        >>> import lora_perf
        >>> lora_perf.load("digits").select(range(100, 200)).select([7, -1]).names
        ['row 107', 'row 199']
        """
        wanted = row_numbers(rows, len(self))
        at = torch.from_numpy(wanted)
        return Zoo(
            chosen(self.source, wanted),
            self.layout,
            None if self.labels is None else self.labels[at],
            self.classes,
            split=None if self.split is None else self.split[at],
            name=self.name,
            scales=None if self.scales is None else self.scales[at],
            ranks=None if self.ranks is None else self.ranks[at],
            names=row_names(wanted) if self.given_names is None else self.given_names.select(wanted),
            metadata=self.metadata.select(wanted),
            origin=self.origin,
        )

    def relabelled(self, labels: Numbers, classes: Sequence[str]) -> Zoo:
        """The same adapters under other labels (n,); no weight is read, and rows that were hashed are not hashed again.

        >>> import lora_perf
        >>> lora_perf.load("digits").relabelled([0] * 500 + [1] * 500, ["first", "last"]).classes
        ['first', 'last']
        """
        other = copy.copy(self)
        other.labels, other.classes = whole_of(labels, "labels").to(torch.int64), [str(name) for name in classes]
        tables = {"scales": self.scales, "ranks": self.ranks}
        check(self.source, self.layout, other.labels, other.classes, self.split, tables, self.given_names)
        for name in ("fingerprint", "hashed"):
            other.__dict__.pop(name, None)
        other.original, other.promise = self if self.original is None else self.original, None
        return other

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content: rows, labels, classes, layout and split, however they are stored.

        Cost: one streamed pass over the rows at the speed of xxh3 (about that of memory).

        Raises:
            DamagedError: it is not the one that was promised.
        """
        return self.hashed.fingerprint

    @property
    def row_hashes(self) -> NDArray[np.uint64]:
        """(n, 2) a hash of the values of each row: rows of the same values have the same hash.

        Cost: that of `fingerprint`, whose pass it shares.
        """
        return self.hashed.rows

    @cached_property
    def hashed(self) -> Hashed:
        """`fingerprint` and `row_hashes`, of one pass."""
        return hashed(self) if self.original is None else Hashed.of(self, self.original.hashed.rows)
