"""One adapter of a zoo, as an object of its own; and the zoo as a data set of torch."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lora_perf.core.errors import listed
from lora_perf.core.rows import Chosen, gathered, row_numbers
from lora_perf.core.showing import Facts, card
from lora_perf.core.tables import Table
from lora_perf.core.text import counted

if TYPE_CHECKING:
    from lora_perf.core.zoo import Zoo


class Pair(NamedTuple):
    """The factors of one module of one adapter: its update is dW = scale * up @ down.

    Shapes: up (m, r), down (r, k); r is the adapter's own rank where those of a zoo differ.
    """

    up: Tensor
    down: Tensor
    scale: float

    @property
    def update(self) -> Tensor:
        """dW (m, k)."""
        return self.scale * (self.up @ self.down)


class Adapter:
    """One adapter of a zoo, what `zoo[3]` gives; its weights are read when they are used.

    Attributes:
        index: its row in the zoo.
        name: its path or id in the source, else "row 3".
        label, class_name: its class as number and name; None without labels.

    >>> import lora_perf
    >>> adapter = lora_perf.load("digits")[3]
    >>> adapter.class_name, len(adapter.layers), len(adapter.modules)
    ('three', 24, 12)
    """

    def __init__(self, zoo: Zoo, index: int) -> None:
        self._zoo = zoo
        self.index = index
        self.name = zoo.names[index] if zoo.named else f"row {index}"
        self.label = None if zoo.labels is None else int(zoo.labels[index])
        self.class_name = None if self.label is None else zoo.classes[self.label]

    @property
    def metadata(self) -> dict[str, Any]:
        """All else that the source says of it."""
        return self._zoo.metadata.row(self.index)

    @cached_property
    def row(self) -> Tensor:
        """Its row (p,); of a smaller rank than the largest of the zoo it has zeros in the place of what is not there."""
        if self._zoo.in_memory:
            return self._zoo.rows[self.index]
        return torch.from_numpy(gathered(self._zoo.source, row_numbers([self.index], len(self._zoo))))[0]

    @cached_property
    def layers(self) -> dict[str, Tensor]:
        """Its weight matrices by the name of the layer, views of its row; those of its own rank."""
        layers = {layer.name: self.row[layer.columns].view(layer.shape) for layer in self._zoo.layout}
        if self._zoo.ranks is not None:
            for module, rank in zip(self._zoo.layout.modules, self._zoo.ranks[self.index].tolist(), strict=True):
                layers[module.up.name] = layers[module.up.name][:, :rank]
                layers[module.down.name] = layers[module.down.name][:rank]
        return layers

    @cached_property
    def modules(self) -> dict[str, Pair]:
        """The pairs of factors by the name of the module."""
        modules = self._zoo.layout.modules
        scales = [1.0] * len(modules) if self._zoo.scales is None else self._zoo.scales[self.index].tolist()
        return {
            module.name: Pair(self.layers[module.up.name], self.layers[module.down.name], scale)
            for module, scale in zip(modules, scales, strict=True)
        }

    def facts(self) -> Facts:
        """What its repr tells."""
        layout, ranks = self._zoo.layout, self._zoo.ranks
        own = {module.rank for module in layout.modules} if ranks is None else set(ranks[self.index].tolist())
        told = {"class": "no label" if self.class_name is None else self.class_name}
        told["layers"] = f"{len(layout)}, {counted(layout.p, 'parameter')}"
        told["modules"] = f"{len(layout.modules)} of rank {listed(sorted(own), 4)}" if own else "none with both sides"
        return told | {key: str(value) for key, value in self.metadata.items()}

    def _card(self) -> Table:
        return card(f"Adapter {self.name!r} (row {self.index} of {self._zoo.name!r})", self.facts())

    def __repr__(self) -> str:
        return repr(self._card())

    def _repr_html_(self) -> str:
        return self._card().html()


class AdapterDataset(Dataset[Any]):
    """A zoo as a data set of torch, for a `DataLoader`: item i is (row (p,), label), or the row alone without labels.

    A loader reads each batch at once; its workers open the zoo's source themselves.

    Raises:
        LoraPerfError: the adapters have different ranks, so that equal columns are not equal entries.

    >>> import lora_perf
    >>> from torch.utils.data import DataLoader
    >>> rows, labels = next(iter(DataLoader(lora_perf.load("digits").dataset(), batch_size=32)))
    >>> rows.shape, labels.shape
    (torch.Size([32, 720]), torch.Size([32]))
    """

    def __init__(self, zoo: Zoo) -> None:
        zoo.refuse_ranks()
        self.zoo = zoo

    def __len__(self) -> int:
        return len(self.zoo)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Chosen) -> list[Any]:
        wanted = row_numbers(indices, len(self.zoo))
        at = torch.from_numpy(wanted)
        rows = self.zoo.rows[at] if self.zoo.in_memory else torch.from_numpy(gathered(self.zoo.source, wanted))
        return list(rows) if self.zoo.labels is None else list(zip(rows, self.zoo.labels[at], strict=True))
