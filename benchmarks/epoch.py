"""`python -m benchmarks.epoch`: what an epoch of the perceptron spends beside its products, operator by operator.

One run, one thread, features and recipe of the default experiment. Seconds are those of torch.profiler, whose own cost is left
out by scaling them to the processor time of the same epochs without it; what a run takes to start and end is shared among its
epochs. It needs of the package no more than `train`, so that
`PYTHONPATH` may name the package of an older commit.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from benchmarks import surface

# What an operator does, by the beginning of its name; the first that fits counts.
_KINDS = {
    "products": ("aten::bmm", "aten::mm", "aten::addmm", "aten::baddbmm", "aten::linear"),
    "Adam": ("aten::_fused_adam", "Optimizer.", "aten::_foreach"),
    "batch norm and ReLU": ("aten::native_batch_norm", "aten::threshold", "aten::clamp_min", "aten::relu"),
    "to bfloat16 and back, other copies": ("aten::copy_", "aten::_to_copy", "aten::to", "aten::clone"),
    "masks of dropout": ("aten::random_", "aten::bernoulli", "aten::mul", "aten::ge", "aten::lt", "aten::bitwise"),
    "gathers of rows, standardising": ("aten::index", "aten::sub", "aten::gather"),
    "loss": ("aten::_log_softmax", "aten::exp", "aten::scatter", "aten::sum", "aten::div", "aten::argmax", "aten::eq"),
}


@dataclass(frozen=True)
class EpochConfig:
    """Prints a table in Markdown: milliseconds an epoch, and their shares."""

    features: int = 168
    """Of each adapter; 168 are those of stats on digits-mixed."""
    train: int = 520
    """Train adapters, beside 120 for validation."""
    epochs: int = 40
    """That are measured."""
    float32: bool = False
    """Compute products in float32 where the processor has units for bfloat16."""


def measured(config: EpochConfig) -> tuple[float, dict[str, float]]:
    """Milliseconds of processor time an epoch, and what kinds of operators take of them."""
    n = config.train + 120 + 64
    generator = torch.Generator().manual_seed(0)
    values, labels = torch.randn((n, config.features), generator=generator), torch.arange(n) % 10
    parts = torch.arange(n).split([config.train, 120, 64])
    split = surface.Split(*parts, "stratified")
    asked = {"amp": not config.float32} if "amp" in surface.TrainingConfig.__dataclass_fields__ else {}

    def seconds(epochs: int) -> float:
        recipe = surface.TrainingConfig(epochs=epochs, patience=epochs + 1, **asked)
        begin = time.process_time()
        surface.train(values, labels, split, 10, [42], recipe, stacked=True)
        return time.process_time() - begin

    seconds(2)  # imports and warms up
    whole = min(seconds(config.epochs) for _ in range(3))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        seconds(config.epochs)
    spent: Counter[str] = Counter()
    for one in seen.key_averages():
        kind = next((name for name, starts in _KINDS.items() if one.key.startswith(starts)), "views and all else")
        spent[kind] += one.self_cpu_time_total
    total = sum(spent.values())
    each = 1e3 * whole / config.epochs
    return each, {name: each * share / total for name, share in spent.most_common()}


def main(config: EpochConfig) -> None:
    torch.set_num_threads(1)
    each, spent = measured(config)
    print(f"{config.features} features, {config.train} train adapters: {each:.1f} ms an epoch\n")
    print("| what | ms | share |\n| --- | ---: | ---: |")
    for name, milliseconds in spent.items():
        print(f"| {name} | {milliseconds:.2f} | {milliseconds / each:.0%} |")


if __name__ == "__main__":
    main(tyro.cli(EpochConfig, description=__doc__))
