"""Features: what a representation makes of a zoo, one row an adapter, each column tied to the layers it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.factors import Factors, factors_in
from lora_perf.core.layout import Layer, Layout
from lora_perf.core.metadata import Column, named
from lora_perf.core.rows import Chosen, row_numbers, single_row
from lora_perf.core.showing import card
from lora_perf.core.stored import StoredValues, chosen_columns
from lora_perf.core.tables import Table
from lora_perf.core.text import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring columns that came from the same layers: they are chosen together, and only with all of these layers.

    Attributes:
        layers: positions in the layout: one layer, or the two of a module, or those of several modules.
        title: what the columns are about: the name of the layer or of the module.
        names: of the features, one a column.
    """

    layers: tuple[int, ...]
    title: str
    names: tuple[str, ...]

    def prefixed(self, name: str) -> Part:
        """The part as it is called in a concatenation."""
        return replace(self, names=tuple(f"{name}.{feature}" for feature in self.names))


@dataclass(frozen=True, eq=False, repr=False)
class Features:
    """A matrix (n, f) of features that knows the layers of each column; an array to NumPy and scikit-learn, `values` for torch.

    Attributes:
        matrix: (n, f) float32, a tensor or values that stay in the file or the zoo that they are part of.
        values: the same as a tensor, a copy where `matrix` is none.
        layout: the layout of the zoo.
        parts: which columns came from which layers, in column order.
        called: names of the adapters as the zoo has them, None where it has none.
        layers: (f,) int64, the position in `layout` of the layer, or of the first of the layers, that each column came from.
        names: of the columns, `<layer or module>/<feature>`.

    >>> import lora_perf
    >>> features = lora_perf.represent(lora_perf.load("digits"), ["stats"])["stats"]
    >>> features.shape, np.asarray(features).dtype, features[[3, 5]].shape
    ((1000, 168), dtype('float32'), (2, 168))
    """

    matrix: Tensor | StoredValues
    layout: Layout
    parts: tuple[Part, ...]
    called: Column | None = None

    @cached_property
    def values(self) -> Tensor:
        return self.matrix.tensor() if isinstance(self.matrix, StoredValues) else self.matrix

    @cached_property
    def layers(self) -> NDArray[np.int64]:
        return np.repeat([min(part.layers) for part in self.parts], self._widths).astype(np.int64)

    @cached_property
    def factors(self) -> tuple[Factors, ...]:
        """Where the columns hold factors of updates, as those of `dw_canonical` and `flat_vec` do."""
        return factors_in(self.layout, self.parts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{part.title}/{name}" for part in self.parts for name in part.names)

    @cached_property
    def _widths(self) -> list[int]:
        return [len(part.names) for part in self.parts]

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """(n, f)."""
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    @cached_property
    def adapters(self) -> list[str]:
        """(n) the names of the adapters, as `Zoo.names` gives them."""
        return [str(name) for name in named(self.called, len(self)).values()]

    def _card(self) -> Table:
        layers = {layer for part in self.parts for layer in part.layers}
        where = self.matrix.source.where if isinstance(self.matrix, StoredValues) else f"on {self.matrix.device}"
        told = {
            "values": f"{str(self.matrix.dtype).removeprefix('torch.')} {where}",
            "layers": f"{len(layers)} of {len(self.layout)}",
            "columns": listed(self.names, 3),
        }
        return card(f"Features: {counted(len(self), 'adapter')}, {counted(self.shape[1], 'feature')}", told)

    def __repr__(self) -> str:
        return repr(self._card())

    def _repr_html_(self) -> str:
        return self._card().html()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """The values as an array of NumPy, of a GPU's too: they share memory where they can."""
        array = self.values.detach().cpu().numpy()
        same = dtype is None or array.dtype == np.dtype(dtype)
        if copy is False and not (same and self.values.device.type == "cpu"):
            raise ValueError("these features cannot become such an array without a copy")
        return array.astype(array.dtype if same else dtype, copy=True) if copy or not same else array

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Tensor: ...
    @overload
    def __getitem__(self, rows: tuple[Any, Any]) -> Any: ...
    @overload
    def __getitem__(self, rows: Chosen) -> Features: ...
    def __getitem__(self, rows: Any) -> Any:
        """The features (f,) of one adapter by its row, or those of several (row numbers, a slice, n booleans).

        An index of two axes gives a tensor, as `features.values` does.

        Raises:
            LoraPerfError: rows that are not there.
        """
        if isinstance(rows, tuple) and len(rows) == 2:
            if rows[1] is not Ellipsis:
                return self.values[rows]
            rows = rows[0]  # as scikit-learn asks for rows
        if (single := single_row(rows, len(self))) is not None:
            return self.matrix[single : single + 1][0]
        wanted = row_numbers(rows, len(self))
        matrix = self.matrix.index_select(0, torch.from_numpy(wanted).to(self.matrix.device))
        return replace(self, matrix=matrix, called=named(self.called, len(self)).select(wanted))

    def to_frame(self) -> pd.DataFrame:
        """A DataFrame of pandas: one row an adapter, by its name, and one column a feature."""
        import pandas as pd

        return pd.DataFrame(np.asarray(self), index=pd.Index(self.adapters, name="adapter"), columns=list(self.names))

    def select(self, layers: Sequence[Layer]) -> Features:
        """The columns of some layers, in their present order; all layers give the features themselves.

        A column that came from several layers is chosen where all of them are: features of dW = s B A need both sides.

        Raises:
            LoraPerfError: no column came from these layers alone.
        """
        wanted = set(self.layout.indices(layers))
        chosen = [wanted.issuperset(part.layers) for part in self.parts]
        if all(chosen):
            return self
        if not any(chosen):
            raise no_columns(layers)
        columns = np.flatnonzero(np.repeat(chosen, self._widths))
        kept = tuple(part for part, good in zip(self.parts, chosen, strict=True) if good)
        return replace(self, matrix=chosen_columns(self.matrix, columns), parts=kept)


def no_columns(layers: Iterable[Layer], title: str = "these features") -> LoraPerfError:
    """What to tell where a choice of layers leaves no column: it holds one side of each module, or too few modules."""
    found = [layer.name for layer in layers]
    return LoraPerfError(
        expected=f"layers that {title} can be made of (those of dW = s B A need both the up and the down of a module; "
        "layer_coupling needs an update as wide as it is tall, or two neighbours of one shape)",
        found=listed(found, 2) if found else "none",
        fix="choose a layer group with both sides, such as all, visual or attn2.to_v, or representations of the factors",
    )


def concatenate(features: Mapping[str, Features]) -> Features:
    """The columns of several representations of one zoo side by side, named `<layer>/<representation>.<feature>`."""
    (first, *_) = features.values()
    parts = tuple(part.prefixed(name) for name, one in features.items() for part in one.parts)
    return replace(first, matrix=torch.cat([one.values for one in features.values()], dim=1), parts=parts)
