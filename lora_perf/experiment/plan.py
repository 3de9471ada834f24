"""The plan of an experiment: which cells there are and how large they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.layout import Layer, Layout
from lora_perf.experiment.config import AUTO, OF_UPDATES, ExperimentConfig
from lora_perf.experiment.controls import random_halves
from lora_perf.experiment.layers import modules_of
from lora_perf.report.cells import Cell
from lora_perf.report.tested import Kind
from lora_perf.representations import REPRESENTATIONS, count, expand, members
from lora_perf.representations.learned.untrained import beside
from lora_perf.representations.updates.sketch import with_width


@dataclass(frozen=True)
class PlannedCell:
    """A cell with its layers and its number of features, None where that is known when they are fitted."""

    cell: Cell
    layers: tuple[Layer, ...]
    features: int | None


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        cells: in the order in which they run; those of one representation and group follow each other.
        layers: those that some cell needs.
        groups: the layer groups that were asked for, the reference of the drops first.
        halves: the random halves that stand beside the second group, where asked for.
        modules: those of the first group by the names of their cells, where each is looked at by itself.
    """

    cells: tuple[PlannedCell, ...]
    layers: tuple[Layer, ...]
    groups: tuple[str, ...]
    halves: dict[str, tuple[Layer, ...]]
    modules: dict[str, tuple[Layer, ...]] = field(default_factory=dict)

    @property
    def representations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.cell.representation for one in self.cells))


def make_plan(
    config: ExperimentConfig, layout: Layout, *, one_rank: bool = True, divisions: Mapping[str, Kind] | None = None
) -> Plan:
    """The cells of an experiment.

    Args:
        one_rank: whether all adapters have the same ranks.
        divisions: the splits that there are, and what each is for; by default a single one.

    Controls that are features, as `norm`, stand beside the representations on every group; no half is taken of them and no
    label of theirs is shuffled.

    Raises:
        LoraPerfError: an unknown representation or layer group, a group without a sampled layer, a group that a
            representation makes no feature of.
    """
    sampled = _sampled(layout, config.sample_layers)
    groups: dict[str, tuple[Layer, ...]] = {}
    for group in _asked(config.layer_groups, layout, sampled):
        groups[group] = tuple(layer for layer in layout.group(group) if layer in sampled)
        if not groups[group]:
            raise LoraPerfError(
                expected=f"a sampled layer in group {group}",
                found=f"none among {listed((layer.name for layer in sampled), 3)}",
                fix="raise --sample-layers or leave the group out",
            )
    chosen = expand(_chosen(config.representations, layout, groups.values(), one_rank))
    names = expand(with_width(name, config.sketch_width) for name in chosen)
    controls = tuple(dict.fromkeys(_controls(config, names, layout, groups.values(), one_rank)))
    halves = {}
    if "halves" in config.controls and len(groups) < 2:
        raise LoraPerfError(
            expected="a second layer group, whose drop --controls halves compares with that to random halves",
            found=listed(groups),
            fix=f"write --layer-groups all and one of {listed(layout.group_names[1:], 8)}, or leave halves out",
        )
    if "halves" in config.controls:
        whole, part, *_ = groups.values()
        halves = random_halves(layout, whole, part, config.seed, config.halves)
    shuffles = "shuffled" in config.controls
    first = next(iter(groups))
    modules = modules_of(groups[first]) if config.layers == "each" else {}
    kinds = {"": "repeat"} if divisions is None else divisions

    def divided(group: str, name: str) -> list[str]:
        """The splits that cells of a group and a representation are trained on."""
        whole = ("size",) * (group == first) + ("draw",) * REPRESENTATIONS[name].drawn
        wanted = ("repeat", "random", "transfer", "native", *whole) if group in groups else ("fold",)
        return [name for name, kind in kinds.items() if kind in wanted or not name] if group not in halves else [""]

    cells = [
        PlannedCell(Cell(name, group, classifier, shuffled, division), layers, count(name, layout, layers))
        for name in (*names, *controls)
        for group, layers in (groups if name in controls else groups | halves | modules).items()
        for division in divided(group, name)
        for classifier in config.readers
        for shuffled in ((False, True) if shuffles and group in groups and name in names and not division else (False,))
    ]
    used = {layer for layers in (groups | halves).values() for layer in layers}
    return Plan(tuple(cells), tuple(layer for layer in layout if layer in used), tuple(groups), halves, modules)


def _chosen(names: Sequence[str], layout: Layout, groups: Iterable[Sequence[Layer]], one_rank: bool) -> Iterator[str]:
    """The names that were given, with what `auto` stands for in this zoo."""
    for name in names:
        if name != AUTO:
            yield name
            continue
        updates = tuple(one for one in OF_UPDATES if all(_can_be_made(one, layout, layers) for layers in groups))
        if not one_rank and not updates:
            raise LoraPerfError(
                expected="adapters of one rank, or layer groups with both sides of a module",
                found="several ranks, and groups of one side",
                fix="leave --layer-groups out, or keep the adapters of one rank",
            )
        yield from members("ten") if one_rank else ()
        yield from updates


def _controls(
    config: ExperimentConfig, names: Sequence[str], layout: Layout, groups: Iterable[Sequence[Layer]], one_rank: bool
) -> Iterator[str]:
    """The representations that stand beside those that were asked for, to tell what these are worth."""
    groups = list(groups)
    if "auto" in config.controls:
        of_learned = [one for name in names for one in beside(name) if one_rank or REPRESENTATIONS.named(one).any_rank]
        yield from (one for one in ("norm", *of_learned) if all(_can_be_made(one, layout, layers) for layers in groups))
    yield from (name for name in members("controls") if name in config.controls)


def _can_be_made(name: str, layout: Layout, layers: Sequence[Layer]) -> bool:
    try:
        count(name, layout, layers)
    except LoraPerfError:
        return False
    return True


def share_of(plan: Plan, share: tuple[int, int]) -> list[PlannedCell]:
    """The cells of one of several shares: those of the same features stay together, wide ones are dealt first."""
    together: dict[tuple[str, str], list[PlannedCell]] = {}
    for one in plan.cells:
        together.setdefault((one.cell.representation, one.cell.group), []).append(one)
    dealt = sorted(together.values(), key=lambda cells: -(cells[0].features or 0))
    number, count = share
    return [one for cells in dealt[number::count] for one in cells]


def _asked(names: tuple[str, ...], layout: Layout, sampled: set[Layer]) -> tuple[str, ...]:
    """The layer groups that were asked for, each once; `auto` is all, and visual where there are such layers."""
    visual = "visual" in layout.group_names and not sampled.isdisjoint(layout.group("visual"))
    auto = ("all", "visual") if visual else ("all",)
    return tuple(dict.fromkeys(group for name in names for group in (auto if name == "auto" else (name,))))


def _sampled(layout: Layout, count: int | None) -> set[Layer]:
    if count is None or count >= len(layout):
        return set(layout)
    places = torch.linspace(0, len(layout) - 1, count).round().int().tolist()
    return {layout.layers[place] for place in places}
