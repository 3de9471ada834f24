"""Cells of an experiment on other processes and machines: each leaves its finished cells in the output folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from lora_perf.core.ambient import with_threads
from lora_perf.distributed import Shared, outcomes, shared
from lora_perf.experiment import runner
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.observer import Observer
from lora_perf.experiment.plan import PlannedCell


def trained_elsewhere(config: ExperimentConfig, missing: Sequence[PlannedCell]) -> Iterator[PlannedCell]:
    """Cells as they are finished on the cluster of `config.scheduler`; those of the same features are one task."""
    assert config.scheduler is not None
    groups = [list(cells) for _, cells in groupby(missing, lambda one: (one.cell.representation, one.cell.group))]
    dataset = str(Path(config.dataset).absolute()) if Path(config.dataset).exists() else config.dataset
    settings = replace(
        config,
        dataset=dataset,
        output_dir=config.output_dir.absolute(),
        cache_dir=config.cache.absolute(),
        scheduler=None,
        threads=None,
        trace=None,
    )
    with shared(settings.output_dir) as agreed:
        calls = [(settings, cells, agreed) for cells in groups]
        titles = [f"{cells[0].cell.representation} on {cells[0].cell.group}" for cells in groups]
        by_name = {one.cell.name: one for one in missing}
        for names in outcomes(config.scheduler, train, calls, titles):
            yield from (by_name[name] for name in names)


def train(config: ExperimentConfig, cells: list[PlannedCell], agreed: Shared) -> list[str]:
    """A task: trains cells and saves them in the output folder; returns their names."""
    agreed.check()
    with with_threads(agreed.threads):
        runner.train_cells(_prepared(config), Observer(), cells)
    return [one.cell.name for one in cells]


@lru_cache(maxsize=1)  # the zoo, its fingerprint and the features of the last task serve the next one
def _prepared(config: ExperimentConfig) -> runner.Prepared:
    return runner.prepare(config)
