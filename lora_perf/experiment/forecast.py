"""How long an experiment may take and what it may fill, from a short measurement on this machine and from its sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup
from lora_perf.core.split import Split
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.divisions import Division
from lora_perf.experiment.inputs import sample
from lora_perf.experiment.layers import further_names
from lora_perf.experiment.plan import Plan
from lora_perf.representations import REPRESENTATIONS
from lora_perf.representations.streaming import represent

# Epochs that a run takes beyond its patience before it stops early: 5 to 22 in the means of cells on the embedded zoo and on
# 10,000 synthetic adapters, 9 in the mean of all. For estimates only.
_BEYOND_PATIENCE = 9
_WIDTHS = (256, 2_048, 16_640)  # of random features; the widest has a first layer that outgrows the caches of a core
_ROWS = 320  # of random features, of which four in five are for training: four batches of the default size
_SECONDS = 0.5  # that a measurement of the pass takes at least, where there are adapters enough
_MOST_NBYTES = 32 << 20  # of the rows that are measured


@dataclass(frozen=True)
class Forecast:
    """Seconds, and what they leave out.

    Attributes:
        represent: of the streamed pass.
        cost: of measuring what each representation takes.
        train, train_at_most: of the classifiers that learn in epochs, on cells whose number of features is known.
        longest: the representation whose cells take most of that, and their seconds.
        left_out: what is fitted when the experiment runs and was not measured.
    """

    represent: float
    cost: float
    train: float
    train_at_most: float
    longest: tuple[str, float]
    left_out: tuple[str, ...]


def forecast(
    config: ExperimentConfig, plan: Plan, zoo: Zoo, divisions: Mapping[str, Division], device: torch.device
) -> Forecast:
    """Measures some adapters and a few steps of narrow perceptrons, and scales them up.

    Cost: some seconds and some hundred megabytes, whatever the size of the zoo. Epochs are measured on random features of
    three widths, up to the widest that is asked for; their time is linear in the rows, and in the width between two of these
    and beyond the last.
    """
    needs = {name: REPRESENTATIONS[name].needs for name in plan.representations}
    names = [name for name, need in needs.items() if need in ("factors", "updates")]
    per_adapter = _seconds_per_adapter(zoo, names, plan, device) if names else 0.0
    drawn = [name for name in names if REPRESENTATIONS[name].drawn]  # in a pass of each further draw
    further = (config.draws - 1) * _seconds_per_adapter(zoo, drawn, plan, device) if drawn and config.draws > 1 else 0.0
    start = epoch = 0.0
    of_names: dict[str, float] = {}
    asked = list(config.readers)
    for name in (name for name in asked if CLASSIFIERS[name].by_epochs):
        cells = [one for one in plan.cells if one.cell.classifier == name and one.features is not None]
        if not cells:
            continue
        known = _measured_widths(name, config, len(zoo.classes), device, max(one.features or 0 for one in cells))
        work = [(one.cell, one.features or 0, 1) for one in cells]
        if plan.modules:  # cells of several modules follow, of half of all on average
            more = len(further_names(len(plan.modules)))
            whole = [one for one in cells if one.cell.group == plan.groups[0] and not one.cell.division]
            work += [(one.cell, (one.features or 0) // 2, more) for one in whole]
        for cell, features, times in work:
            division = divisions[cell.division]
            share = times * len(division.seeds(config)) / config.num_runs
            rows = len(division.split.train) / known[0].rows
            of_cell, of_epoch = (share * seconds for seconds in between(known, features))
            start, epoch = start + of_cell, epoch + rows * of_epoch
            seconds = of_cell + rows * of_epoch * typical_epochs(config)
            of_names[cell.representation] = of_names.get(cell.representation, 0.0) + seconds
    longest = max(of_names.items(), key=lambda one: one[1], default=("", 0.0))
    learned = [name for name, need in needs.items() if need == "train rows"]
    others = [name for name in asked if not CLASSIFIERS[name].by_epochs]
    measured = {(one.cell.representation, one.cell.group) for one in plan.cells if one.cell.group in plan.groups}
    groups = len(measured) / max(1, len(plan.representations))
    return Forecast(
        (per_adapter + further) * len(zoo),
        4 * 64 * per_adapter * groups,
        start + epoch * typical_epochs(config),
        start + epoch * config.epochs,
        longest,
        (*learned, *others),
    )


def typical_epochs(config: ExperimentConfig) -> int:
    """How many epochs a run is likely to take."""
    return min(config.epochs, config.patience + _BEYOND_PATIENCE)


@dataclass(frozen=True)
class Width:
    """What was measured at a number of features: seconds of all runs of a cell to start and end, and for an epoch of `rows`."""

    features: int
    start: float
    epoch: float
    rows: int


def between(known: Sequence[Width], features: int) -> tuple[float, float]:
    """Seconds of a cell's start and of its epoch over the rows measured: on the line through the two nearest widths."""
    if len(known) == 1:
        return known[0].start, known[0].epoch
    low, high = next((pair for pair in pairwise(known) if features <= pair[1].features), (known[-2], known[-1]))
    share = (features - low.features) / (high.features - low.features)

    def at(of: Callable[[Width], float]) -> float:
        return max(0.0, of(low) + share * max(0.0, of(high) - of(low)))

    return at(lambda one: one.start), at(lambda one: one.epoch)


def _seconds_per_adapter(zoo: Zoo, names: list[str], plan: Plan, device: torch.device) -> float:
    most = min(zoo.block_rows(_MOST_NBYTES), len(zoo))
    count = min(8, most)
    while True:
        some = sample(zoo, count)
        represent(some, names, layers=plan.layers, device=device)  # the first call builds Fourier plans and warms up
        begin = time.perf_counter()
        represent(some, names, layers=plan.layers, device=device)
        seconds = time.perf_counter() - begin
        if seconds >= _SECONDS or count == most:
            return seconds / count
        count = min(most, 2 * count)


def _measured_widths(name: str, config: ExperimentConfig, classes: int, device: torch.device, widest: int) -> list[Width]:
    """As many runs as train at a time, on random features of the fixed widths up to the widest that is needed."""
    wanted = [width for k, width in enumerate(_WIDTHS) if k == 0 or widest > _WIDTHS[k - 1]]
    labels = torch.arange(_ROWS) % max(2, classes)
    train, validation, test = torch.arange(_ROWS).split([_ROWS * 8 // 10, _ROWS // 10, _ROWS - _ROWS * 9 // 10])
    split = Split(train, validation, test, "stratified")
    together = config.num_runs if device.type == "cuda" else min(config.num_runs, torch.get_num_threads())
    rounds = config.num_runs / together
    found: list[Width] = []
    for width in wanted:
        generator = torch.Generator().manual_seed(width)
        examples = Examples(torch.randn((_ROWS, width), generator=generator).to(device), split)
        setup = Setup(config.seeds[:together], config.training, device, keep=False)

        def seconds(epochs: int, setup: Setup = setup, examples: Examples = examples) -> float:
            begin = time.perf_counter()
            recipe = replace(setup.recipe, epochs=epochs, patience=epochs)
            CLASSIFIERS[name].fit(examples, labels, max(2, classes), replace(setup, recipe=recipe))
            return time.perf_counter() - begin

        if not found:
            seconds(1)  # imports and warms up
        few = 5 if width < _WIDTHS[-1] else 2
        short, long = seconds(1), seconds(1 + few)
        epoch = max(0.0, long - short) / few
        found.append(Width(width, rounds * max(0.0, short - epoch), rounds * epoch, len(train)))
    return found
