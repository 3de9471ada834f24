"""The layout of a zoo: which layer of an adapter stands in which columns of the row matrix."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.names import Side
from lora_perf.core.names import parse_name as parse_name
from lora_perf.core.tables import Table

# Path components that say how a module was wrapped, not which module it is.
_WRAPPERS = frozenset({"unet", "processor", "base_model", "model"})
_CONVENTIONS = {"visual": "attn1", "text": "attn2"}


@dataclass(frozen=True, slots=True)
class Layer:
    """One weight matrix of an adapter: its name, its shape and its columns in the row."""

    name: str
    shape: tuple[int, int]
    start: int
    module: str
    side: Side

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def stop(self) -> int:
        return self.start + self.size

    @property
    def columns(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def rank(self) -> int:
        """r of a down (r, k) or an up (m, r)."""
        return self.shape[0] if self.side == "down" else self.shape[1]

    @property
    def path(self) -> tuple[str, ...]:
        """The module's dotted name without the components that only say how it was wrapped."""
        return tuple(part for part in self.module.split(".") if part not in _WRAPPERS)


@dataclass(frozen=True, slots=True)
class Module:
    """The adapted linear map: its update is dW = s B A with the up B (m, r) and the down A (r, k)."""

    name: str
    up: Layer
    down: Layer

    @property
    def rank(self) -> int:
        return self.up.rank

    @property
    def shape(self) -> tuple[int, int]:
        """(m, k) of dW."""
        return self.up.shape[0], self.down.shape[1]


class Layout:
    """The ordered layers of one adapter.

    Args:
        shapes: (name, (rows, columns)) of each layer, in the order of the columns of the row matrix.

    >>> layout = Layout([("unet.a.attn1.to_q.lora.down.weight", (2, 5)), ("unet.a.attn1.to_q.lora.up.weight", (4, 2))])
    >>> layout, layout["unet.a.attn1.to_q.lora.up.weight"].columns, [one.name for one in layout.group("visual")][0][-11:]
    (Layout(2 layers, 18 parameters), slice(10, 18, None), 'down.weight')
    >>> layout.modules[0].shape, layout.modules[0].rank, layout.group_names
    ((4, 5), 2, ('all', 'visual', 'down', 'up', 'attn1.to_q', 'a'))

    Raises:
        LoraPerfError: no layer, a name twice, a name that is no LoRA weight, an empty shape.
    """

    def __init__(self, shapes: Iterable[tuple[str, Sequence[int]]]) -> None:
        layers: list[Layer] = []
        start = 0
        for name, shape in shapes:
            parsed = parse_name(name)
            if parsed is None:
                raise LoraPerfError(
                    expected="layer names that end in .lora.down.weight or .lora.up.weight",
                    found=repr(name),
                    fix="rename the layer or leave it out",
                )
            if len(shape) != 2 or min(shape) < 1:
                raise LoraPerfError(
                    expected=f"a matrix of at least one row and one column for {name}",
                    found=f"shape {tuple(shape)}",
                    fix="leave the layer out or repair the data set",
                )
            module, side = parsed
            layers.append(Layer(name, (int(shape[0]), int(shape[1])), start, module, side))
            start += prod(shape)
        if not layers:
            raise LoraPerfError(expected="at least one layer", found="none", fix="check the names of the weight columns")
        self.layers = tuple(layers)
        self.p = start
        if len(self._by_name) != len(layers):
            raise LoraPerfError(
                expected="layer names that differ",
                found=f"{len(layers) - len(self._by_name)} repeated",
                fix="remove the repeated columns",
            )

    @cached_property
    def _by_name(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """The modules of which both sides are there, in the order of their first layers.

        Raises:
            LoraPerfError: an up and a down of different ranks.
        """
        sides: dict[str, dict[Side, Layer]] = {}
        for layer in self.layers:
            sides.setdefault(layer.module, {})[layer.side] = layer
        modules = tuple(Module(name, pair["up"], pair["down"]) for name, pair in sides.items() if len(pair) == 2)
        for module in modules:
            if module.up.rank != module.down.rank:
                raise LoraPerfError(
                    expected=f"an up (m, r) and a down (r, k) of one rank for {module.name}",
                    found=f"shapes {module.up.shape} and {module.down.shape}",
                    fix="repair the data set: the two are not factors of one update",
                )
        return modules

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.layers == other.layers

    def __hash__(self) -> int:
        return hash(self.layers)

    def __repr__(self) -> str:
        return f"Layout({len(self)} layers, {self.p:,} parameters)"

    def _repr_html_(self) -> str:
        rows = [(one.name, str(one.shape), one.module, one.side) for one in self]
        return Table(repr(self), ("layer", "shape", "module", "side"), rows).html()

    def __getitem__(self, name: str) -> Layer:
        try:
            return self._by_name[name]
        except KeyError:
            raise LoraPerfError(
                expected=f"one of the {len(self)} layers ({listed(self._by_name, 3)})",
                found=repr(name),
                fix="iterate over zoo.layout to see all names",
            ) from None

    def group(self, name: str) -> tuple[Layer, ...]:
        """The layers of a layer group, in layout order.

        `all`; `up`, `down`: one side; `visual`: attn1 and `text`: attn2, the convention of the original
        study (attn2.to_q in truth reads image features); any run of components of the module's dotted
        name, such as `attn2.to_v`, `down_blocks.0` or `mid_block`.

        Raises:
            LoraPerfError: no layer belongs to the group; the known groups are listed.
        """
        if name == "all":
            return self.layers
        if name in ("up", "down"):
            chosen = tuple(layer for layer in self.layers if layer.side == name)
        else:
            wanted = tuple(_CONVENTIONS.get(name, name).split("."))
            chosen = tuple(layer for layer in self.layers if _contains(layer.path, wanted))
        if not chosen:
            raise LoraPerfError(
                expected=f"a layer group of this zoo ({listed(self.group_names, 24)})",
                found=repr(name),
                fix="choose one of these, or a part of a module's dotted name",
            )
        return chosen

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """The groups worth offering: those named in `group`, attention kinds, projections and blocks."""
        names = ["all"]
        paths = [layer.path for layer in self.layers]
        names += [name for name, kind in _CONVENTIONS.items() if any(kind in path for path in paths)]
        names += [side for side in ("down", "up") if any(layer.side == side for layer in self.layers)]
        projections = {".".join(path[-2:]): None for path in paths}
        blocks = {path[0]: None for path in paths if len(path) > 2}
        return tuple(dict.fromkeys([*names, *projections, *blocks]))

    def choose(self, layers: Sequence[Layer] | None) -> tuple[Layer, ...]:
        """Some layers, each once and in layout order whatever the order here; all for None.

        >>> layout = Layout([("a.lora.down.weight", (2, 5)), ("a.lora.up.weight", (4, 2))])
        >>> layout.choose(layout.layers[::-1]) == layout.layers, layout.indices(layout.group("up"))
        (True, (1,))

        Raises:
            LoraPerfError: no layer, or one of another layout.
        """
        if layers is None:
            return self.layers
        wanted = set(layers)
        chosen = tuple(layer for layer in self if layer in wanted)
        if not chosen or len(chosen) != len(wanted):
            raise LoraPerfError(
                expected="layers of this zoo, at least one",
                found=f"{len(wanted - set(chosen))} of another zoo" if wanted else "none",
                fix="take them from zoo.layout or zoo.layout.group(name)",
            )
        return chosen

    def indices(self, layers: Iterable[Layer]) -> tuple[int, ...]:
        """Positions of some layers in this layout."""
        places = {layer.name: index for index, layer in enumerate(self.layers)}
        return tuple(places[layer.name] for layer in layers)

    def to_json(self) -> str:
        return json.dumps([[layer.name, *layer.shape] for layer in self.layers], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Layout:
        """The layout that `to_json` wrote.

        Raises:
            LoraPerfError: the text is something else.
        """
        try:
            shapes = [(str(name), (int(rows), int(columns))) for name, rows, columns in json.loads(text)]
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise LoraPerfError(
                expected="a layout as [[name, rows, columns], ...]", found=f"{text[:60]!r} ({error})", fix="pack the zoo again"
            ) from None
        return cls(shapes)


def _contains(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return any(path[i : i + len(wanted)] == wanted for i in range(len(path) - len(wanted) + 1))
