"""The plan of an experiment: which cells there are, how large they are, and how long they may take."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from lora_perf.classifier import train
from lora_perf.errors import LoraPerfError, listed
from lora_perf.experiment.cells import Cell
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.layout import Layer, Layout
from lora_perf.represent import represent
from lora_perf.representations import Concatenation, resolve
from lora_perf.split import Split
from lora_perf.zoo import Zoo

# Epochs that a run of the default recipe takes before it stops early, as seen on the embedded zoo; for estimates only.
_TYPICAL_EPOCHS = 40
_MEASURED_SECONDS = 0.5
_MEASURED_EPOCHS = 2


@dataclass(frozen=True)
class PlannedCell:
    """A cell with its layers and its number of features."""

    cell: Cell
    layers: tuple[Layer, ...]
    features: int


@dataclass(frozen=True)
class Plan:
    """The cells in the order in which they run, and the layers that some cell needs."""

    cells: tuple[PlannedCell, ...]
    layers: tuple[Layer, ...]

    @property
    def representations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.cell.representation for one in self.cells))


@dataclass(frozen=True)
class Forecast:
    """Seconds, from a short measurement on this machine."""

    represent: float
    train: float
    train_at_most: float


def make_plan(config: ExperimentConfig, layout: Layout) -> Plan:
    """The cells of an experiment.

    Raises:
        LoraPerfError: an unknown representation or layer group, or a group without a sampled layer.
    """
    names = tuple(dict.fromkeys(config.representations))
    resolve(names)
    sampled = _sampled(layout, config.sample_layers)
    groups: dict[str, tuple[Layer, ...]] = {}
    for group in dict.fromkeys(config.layer_groups):
        groups[group] = tuple(layer for layer in layout.group(group) if layer in sampled)
        if not groups[group]:
            raise LoraPerfError(
                expected=f"a sampled layer in group {group}",
                found=f"none among {listed((layer.name for layer in sampled), 3)}",
                fix="raise --sample-layers or leave the group out",
            )
    cells = tuple(
        PlannedCell(Cell(name, group), layers, sum(features_of(name, layer) for layer in layers))
        for name in names
        for group, layers in groups.items()
    )
    used = {layer for layers in groups.values() for layer in layers}
    return Plan(cells, tuple(layer for layer in layout if layer in used))


def features_of(name: str, layer: Layer) -> int:
    """How many features a representation makes of one layer."""
    (one,) = resolve([name])
    if isinstance(one, Concatenation):
        return sum(features_of(part, layer) for part in one.parts)
    return len(one.names(layer))


def _sampled(layout: Layout, count: int | None) -> set[Layer]:
    if count is None or count >= len(layout):
        return set(layout)
    places = torch.linspace(0, len(layout) - 1, count).round().int().tolist()
    return {layout.layers[place] for place in places}


def forecast(config: ExperimentConfig, plan: Plan, zoo: Zoo, split: Split, device: torch.device) -> Forecast:
    """Measures a few blocks and a few epochs, and scales them up.

    Training is measured on random features of the narrowest and the widest cell; time in between is nearly linear.
    """
    names = [name for name in plan.representations if name != "flat_vec"]
    per_adapter = _seconds_per_adapter(zoo, names, plan, device) if names else 0.0
    widths = sorted({one.features for one in plan.cells})
    narrow, wide = (_start_and_epoch(config, width, zoo, split, device) for width in (widths[0], widths[-1]))
    start = epoch = 0.0
    for one in plan.cells:
        share = (one.features - widths[0]) / max(1, widths[-1] - widths[0])
        start += narrow[0] + share * (wide[0] - narrow[0])
        epoch += narrow[1] + share * (wide[1] - narrow[1])
    typical = start + epoch * min(_TYPICAL_EPOCHS, config.epochs)
    return Forecast(per_adapter * len(zoo), typical, start + epoch * config.epochs)


def _seconds_per_adapter(zoo: Zoo, names: list[str], plan: Plan, device: torch.device) -> float:
    count = min(8, len(zoo))
    while True:
        rows = torch.empty((count, zoo.layout.p))
        zoo.source.read(0, count, rows.numpy())
        sample = Zoo.from_rows(rows, zoo.layout, zoo.labels[:count], zoo.classes)
        represent(sample, names, layers=plan.layers, device=device)  # the first call builds Fourier plans and warms up
        begin = time.perf_counter()
        represent(sample, names, layers=plan.layers, device=device)
        seconds = time.perf_counter() - begin
        if seconds >= _MEASURED_SECONDS or count == len(zoo):
            return seconds / count
        count = min(len(zoo), 2 * count)


def _start_and_epoch(config: ExperimentConfig, width: int, zoo: Zoo, split: Split, device: torch.device) -> tuple[float, float]:
    """Seconds that all runs of a cell of this width take to start and end, and for one epoch."""
    values = torch.randn((len(zoo), width), device=device)

    def seconds(epochs: int) -> float:
        begin = time.perf_counter()
        settings = replace(config.training, epochs=epochs)
        train(values, zoo.labels, split, len(zoo.classes), config.seeds, settings, device)
        return time.perf_counter() - begin

    seconds(1)  # imports and warms up
    short, long = seconds(1), seconds(1 + _MEASURED_EPOCHS)
    epoch = max(0.0, long - short) / _MEASURED_EPOCHS
    return max(0.0, short - epoch), epoch
