"""How often the intervals and tests of results are right, by simulation: `python -m benchmarks.coverage`.

Answers come from a probit model: right where mean + cluster + adapter + run + rest > 0, all normal. The truth of an interval
is the chance of being right for new runs and new adapters, which is known exactly; of a single run that of this very run,
since it tells nothing of others. The same with several draws of a representation, whose answers vary too, beside another
one that is drawn or not. Then real experiments on shuffled labels: whatever they find is false. Prints Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import sqrt
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

import lora_perf
from benchmarks.surface import (
    Answers,
    Examples,
    Setup,
    accuracy,
    difference_of,
    holm,
    make_split,
    paired_difference,
    parsed,
)

ACCURACIES = (0.1, 0.5, 0.9, 0.97)
RUNS = (1, 2, 10)
DRAWS = ((5, 1), (5, 3), (10, 1), (3, 1), (2, 1))  # of a representation, and runs of each
_DRAW, _SUITED = 0.05, 0.3  # variances: of draws, whose accuracies vary by .06 at .5, and of what suits an adapter in a draw
_REST = 1.0  # variance of what is new in every answer; that of adapters is the same
_RUN = 0.01  # variance of runs: accuracies of seeds vary by .03 at .5


@dataclass(frozen=True)
class Config:
    """How often intervals cover the truth and how often tests find what is not there, in simulated tables."""

    tables: int = 1000
    """Tables a number."""
    experiments: int = 1000
    """Experiments on the zoo digits under labels that are shuffled."""
    seed: int = 0
    """Of the simulation."""


@dataclass(frozen=True)
class Design:
    """Test adapters: how many, in clusters of what size (0: each alone), of what share of the variance of adapters."""

    adapters: int
    cluster: float = 0
    correlation: float = 0.0

    def __str__(self) -> str:
        if not self.cluster:
            return f"{self.adapters:,} alone"
        uneven = "uneven, " * (self.cluster != int(self.cluster))
        return f"{self.adapters:,} in clusters of {uneven}{self.cluster:g}, correlation {self.correlation:g}"


DESIGNS = (
    Design(20),
    Design(100),
    Design(200),
    Design(1000),
    Design(200, 5, 0.3),
    Design(200, 5, 0.6),
    Design(400, 20, 0.6),
    Design(400, 7.5, 0.6),
)


def clusters_of(design: Design, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) the cluster of each adapter; of a size that is no whole number, sizes vary as one over a uniform number."""
    n = design.adapters
    if not design.cluster:
        return np.arange(n)
    if design.cluster == int(design.cluster):
        return np.arange(n) // int(design.cluster)
    weights = 1 / rng.uniform(0.1, 1, round(n / design.cluster))
    return np.sort(rng.choice(len(weights), n, p=weights / weights.sum()))


def answers(
    design: Design, runs: int, mean: float, clusters: NDArray[np.int64], rng: np.random.Generator, *, own: float = 1.0
) -> NDArray[np.float64]:
    """(runs, n) of 0 and 1 whose chance of being 1 is `mean`.

    Args:
        own: share of the variance that is of these answers alone; the rest is that of the generator's next numbers.
    """
    n = design.adapters
    shared = design.correlation
    adapter = sqrt(shared) * rng.normal(size=int(clusters.max()) + 1)[clusters] + sqrt(1 - shared) * rng.normal(size=n)
    of_runs = _RUN if runs > 1 else 0.0
    run = sqrt(of_runs) * rng.normal(size=(runs, 1))
    cells = sqrt(own) * adapter + run + sqrt(_REST) * rng.normal(size=(runs, n))
    spread = sqrt(own + of_runs + _REST)
    return np.asarray(cells > spread * NormalDist().inv_cdf(1 - mean), np.float64)


def covered(design: Design, runs: int, mean: float, tables: int, rng: np.random.Generator) -> float:
    """Share of tables whose interval holds the truth."""
    hits = 0
    for _ in range(tables):
        clusters = clusters_of(design, rng)
        found = accuracy(answers(design, runs, mean, clusters, rng), clusters if design.cluster else None)
        hits += found.low <= mean <= found.high
    return hits / tables


def found(design: Design, runs: int, mean: float, tables: int, rng: np.random.Generator) -> float:
    """Share of tables in which two cells of one accuracy differ by p < .05: adapters suit one or the other cell."""
    hits = 0
    for _ in range(tables):
        clusters = clusters_of(design, rng)
        one, two = (answers(design, runs, mean, clusters, rng) for _ in range(2))
        hits += paired_difference(one, two, clusters if design.cluster else None).p < 0.05
    return hits / tables


def drawn(
    adapter: NDArray[np.float64], draws: int, runs: int, mean: float, rng: np.random.Generator, of_draws: float = _DRAW
) -> NDArray[np.float64]:
    """(draws runs, n) of 0 and 1, draw after draw, whose chance of being 1 is `mean` for new draws, runs and adapters (n,)."""
    n, of_runs = len(adapter), _RUN if runs > 1 else 0.0
    draw = sqrt(of_draws) * rng.normal(size=(draws, 1, 1)) + sqrt(_SUITED) * rng.normal(size=(draws, 1, n))
    cells = adapter + draw + sqrt(of_runs) * rng.normal(size=(draws, runs, 1)) + sqrt(_REST) * rng.normal(size=(draws, runs, n))
    spread = sqrt(1 + of_draws + _SUITED + of_runs + _REST)
    return np.asarray(cells > spread * NormalDist().inv_cdf(1 - mean), np.float64).reshape(-1, n)


def covered_draws(adapters: int, draws: int, runs: int, mean: float, tables: int, rng: np.random.Generator) -> float:
    """Share of tables of several draws whose interval holds the truth."""
    hits = 0
    for _ in range(tables):
        one = accuracy(drawn(rng.normal(size=adapters), draws, runs, mean, rng), draws=draws)
        hits += one.low <= mean <= one.high
    return hits / tables


def found_draws(
    adapters: int, draws: int, runs: int, mean: float, tables: int, rng: np.random.Generator, *, both: bool
) -> float:
    """Share of tables in which a drawn cell differs by p < .05 from one of its accuracy, drawn as often or not at all."""
    hits = 0
    for _ in range(tables):
        adapter = rng.normal(size=adapters)
        one = Answers(drawn(adapter, draws, runs, mean, rng), None, 1, draws)
        beside = drawn(adapter, draws, runs, mean, rng) if both else drawn(adapter, 1, runs, mean, rng, 0.0)
        hits += difference_of([one], [Answers(beside, None, 1, draws if both else 1)]).p < 0.05
    return hits / tables


def rows_of_draws(config: Config) -> Iterator[Sequence[str]]:
    """Adapters, draws, runs, coverage at each accuracy, false findings at .5 and .9 beside one that is drawn, and is not."""
    for adapters, (draws, runs) in product((200, 1000), DRAWS):
        rng = np.random.default_rng([config.seed, adapters, draws, runs])
        hits = [covered_draws(adapters, draws, runs, mean, config.tables, rng) for mean in ACCURACIES]
        false = [
            found_draws(adapters, draws, runs, mean, config.tables, rng, both=both)
            for both in (True, False)
            for mean in (0.5, 0.9)
        ]
        told = (f"{100 * one:.0f}" for one in hits)
        yield (f"{adapters:,}", str(draws), str(runs), *told, *(f"{100 * one:.1f}" for one in false))


def rows(config: Config) -> Iterator[Sequence[str]]:
    """Design, runs, coverage at each accuracy, false findings at each accuracy."""
    for design, runs in product(DESIGNS, RUNS):
        rng = np.random.default_rng([config.seed, design.adapters, runs])
        hits = [covered(design, runs, mean, config.tables, rng) for mean in ACCURACIES]
        false = [found(design, runs, mean, config.tables, rng) for mean in ACCURACIES]
        yield (str(design), str(runs), *(f"{100 * one:.0f}" for one in hits), *(f"{100 * one:.1f}" for one in false))


def findings(experiments: int, seed: int) -> tuple[int, int]:
    """In how many experiments on shuffled labels of `digits` some drop, or some pair of representations, differs after Holm's
    correction: four representations on two groups, read by ridge regression.
    """
    zoo = lora_perf.load("digits")
    names = ("stats", "matrix_norms", "spectral", "dw_spectrum")
    features = {"all": lora_perf.represent(zoo, names), "up": lora_perf.represent(zoo, names[:3], layers="up")}
    split = make_split(zoo.required_labels, zoo.classes, zoo.split)
    cells = {(name, group): Examples(one.matrix, split) for group, found in features.items() for name, one in found.items()}
    rng = np.random.default_rng(seed)
    drops = pairs = 0
    for _ in range(experiments):
        labels = zoo.required_labels[torch.from_numpy(rng.permutation(len(zoo)))]
        truth = labels[split.test].numpy()
        right = {
            key: lora_perf.CLASSIFIERS["ridge"].fit(one, labels, len(zoo.classes), Setup(keep=False)).predictions.numpy()
            == truth
            for key, one in cells.items()
        }
        of_drops = [paired_difference(right[name, "all"], right[name, "up"]).p for name in names[:3]]
        of_pairs = [paired_difference(right[one, "all"], right[two, "all"]).p for one, two in combinations(names, 2)]
        drops += min(holm(of_drops)) < 0.05
        pairs += min(holm(of_pairs)) < 0.05
    return drops, pairs


def main() -> int:
    config = parsed(Config, None, "python -m benchmarks.coverage")
    titles = ["adapters", "runs", *(f"covered at {mean}" for mean in ACCURACIES), *(f"false at {mean}" for mean in ACCURACIES)]
    print("| " + " | ".join(titles) + " |\n|" + " --- |" * len(titles))
    for row in rows(config):
        print("| " + " | ".join(row) + " |", flush=True)
    beside = [f"false at {mean} beside {what}" for what in ("draws", "none") for mean in (0.5, 0.9)]
    titles = ["adapters", "draws", "runs of each", *(f"covered at {mean}" for mean in ACCURACIES), *beside]
    print("\n| " + " | ".join(titles) + " |\n|" + " --- |" * len(titles))
    for row in rows_of_draws(config):
        print("| " + " | ".join(row) + " |", flush=True)
    drops, pairs = findings(config.experiments, config.seed)
    print(
        f"\nOf {config.experiments:,} experiments on shuffled labels {drops:,} find a drop and {pairs:,} a pair that differs."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
