"""How long an experiment may take, from a short measurement on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup
from lora_perf.core.split import Split
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.inputs import sample
from lora_perf.experiment.plan import Plan
from lora_perf.representations import REPRESENTATIONS
from lora_perf.representations.streaming import represent

# Epochs that a run of the default recipe takes before it stops early, as seen on the embedded zoo; for estimates only.
_TYPICAL_EPOCHS = 40
_MEASURED_SECONDS = 0.5
_MEASURED_EPOCHS = 2


@dataclass(frozen=True)
class Forecast:
    """Seconds, and what they leave out.

    Attributes:
        represent: of the streamed pass.
        train, train_at_most: of the classifiers that learn in epochs, on cells whose number of features is known.
        left_out: what is fitted when the experiment runs and was not measured.
    """

    represent: float
    train: float
    train_at_most: float
    left_out: tuple[str, ...]


def forecast(config: ExperimentConfig, plan: Plan, zoo: Zoo, split: Split, device: torch.device) -> Forecast:
    """Measures a few blocks and a few epochs, and scales them up.

    Training is measured on random features of the narrowest and the widest cell; time in between is nearly linear.
    """
    needs = {name: REPRESENTATIONS[name].needs for name in plan.representations}
    names = [name for name, need in needs.items() if need in ("factors", "updates")]
    per_adapter = _seconds_per_adapter(zoo, names, plan, device) if names else 0.0
    asked = list(dict.fromkeys(config.classifiers))
    start = epoch = 0.0
    for name in (name for name in asked if CLASSIFIERS[name].by_epochs):
        cells = [one.features for one in plan.cells if one.cell.classifier == name and one.features is not None]
        if not cells:
            continue
        widths = sorted(set(cells))
        narrow, wide = (_start_and_epoch(name, config, width, zoo, split, device) for width in (widths[0], widths[-1]))
        for features in cells:
            share = (features - widths[0]) / max(1, widths[-1] - widths[0])
            start += narrow[0] + share * (wide[0] - narrow[0])
            epoch += narrow[1] + share * (wide[1] - narrow[1])
    typical = start + epoch * min(_TYPICAL_EPOCHS, config.epochs)
    learned = [name for name, need in needs.items() if need == "train rows"]
    others = [name for name in asked if not CLASSIFIERS[name].by_epochs]
    return Forecast(per_adapter * len(zoo), typical, start + epoch * config.epochs, (*learned, *others))


def _seconds_per_adapter(zoo: Zoo, names: list[str], plan: Plan, device: torch.device) -> float:
    count = min(8, len(zoo))
    while True:
        some = sample(zoo, count)
        represent(some, names, layers=plan.layers, device=device)  # the first call builds Fourier plans and warms up
        begin = time.perf_counter()
        represent(some, names, layers=plan.layers, device=device)
        seconds = time.perf_counter() - begin
        if seconds >= _MEASURED_SECONDS or count == len(zoo):
            return seconds / count
        count = min(len(zoo), 2 * count)


def _start_and_epoch(
    name: str, config: ExperimentConfig, width: int, zoo: Zoo, split: Split, device: torch.device
) -> tuple[float, float]:
    """Seconds that all runs of a cell of this width take to start and end, and for one epoch."""
    examples = Examples(torch.randn((len(zoo), width), device=device), split)
    setup = Setup(config.seeds, config.training, device, keep=False)

    def seconds(epochs: int) -> float:
        begin = time.perf_counter()
        short = replace(setup, recipe=replace(setup.recipe, epochs=epochs))
        CLASSIFIERS[name].fit(examples, zoo.required_labels, len(zoo.classes), short)
        return time.perf_counter() - begin

    seconds(1)  # imports and warms up
    short, long = seconds(1), seconds(1 + _MEASURED_EPOCHS)
    epoch = max(0.0, long - short) / _MEASURED_EPOCHS
    return max(0.0, short - epoch), epoch
