"""Trains the cells of an experiment: taken from the output folder, trained by a cluster, or here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, fitted
from lora_perf.classifiers.permuted import Permuted, permuted
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.profiling import stage
from lora_perf.experiment.checkpoints import Checkpoints
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.controls import shuffled_labels
from lora_perf.experiment.inputs import Inputs
from lora_perf.experiment.maps import with_map
from lora_perf.experiment.observer import Observer
from lora_perf.experiment.plan import PlannedCell
from lora_perf.experiment.prepared import Prepared
from lora_perf.report.cells import Asked, Cell, CellResult, scored


class Training:
    """Trains and scores cells, as many calls as there are stages, and keeps each as it is done.

    Args:
        checkpoints: where finished cells are taken from and saved; None: nowhere.
    """

    def __init__(self, prepared: Prepared, observer: Observer, checkpoints: Checkpoints | None) -> None:
        self._prepared, self._observer, self._checkpoints = prepared, observer, checkpoints
        config, self._target = prepared.config, prepared.question.target
        self._inputs = Inputs(config, prepared.zoo, prepared.plan.layers, prepared.divisions, prepared.device, observer)
        self._shuffled = shuffled_labels(self._target.values, prepared.split, config.seed)
        self._setup = Setup(config.seeds, config.training, prepared.device, observer.epoch, keep=False, task=self._target.task)
        self._examples: Examples | None = None

    def known(self, cells: Sequence[PlannedCell]) -> dict[Cell, CellResult]:
        """Those that were finished before."""
        if self._checkpoints is None or not self._prepared.config.resume:
            return {}
        found = {}
        for one in cells:
            known = self._checkpoints.load(one.cell, one.layers)
            if known is not None:
                found[one.cell] = known
                self._inputs.know(one, known.milliseconds)
        return found

    def train(self, cells: Sequence[PlannedCell]) -> dict[Cell, CellResult]:
        """All of some cells, in their order.

        Raises:
            KeyboardInterrupt: passed on; finished cells are saved.
        """
        config, clock = self._prepared.config, self._prepared.clock
        if config.scheduler is not None and cells and self._checkpoints is not None:
            with clock.stage("cluster"):
                return self._train_elsewhere(config, config.scheduler, self._checkpoints, cells)
        with clock.stage("represent"):
            self._inputs.compute(cells)
        results = {}
        for one in cells:
            self._observer.started(one)
            with stage(f"cell {one.cell}"):
                results[one.cell] = self._trained(one)
            if self._checkpoints:
                self._checkpoints.save(results[one.cell], one.layers)
            self._observer.finished(results[one.cell])
        return results

    def mapped(self, one: PlannedCell, result: CellResult) -> CellResult:
        """The result of a cell with the map of its adapters, kept for the next time."""
        if result.map is not None:
            return result
        with self._prepared.clock.stage("map"):
            found = with_map(self._prepared, self._inputs, one, result)
        if self._checkpoints and found.map is not None:
            self._checkpoints.save(found, one.layers)
        return found

    def _train_elsewhere(
        self, config: ExperimentConfig, scheduler: str, checkpoints: Checkpoints, cells: Sequence[PlannedCell]
    ) -> dict[Cell, CellResult]:
        from lora_perf.experiment.elsewhere import trained_elsewhere  # which runs this very module there

        self._inputs.share(dict.fromkeys(one.cell.representation for one in cells), scheduler)
        results = {}
        for one in trained_elsewhere(config, cells):
            results[one.cell] = _found(checkpoints, one)
            self._observer.finished(results[one.cell])
        return results

    def _trained(self, one: PlannedCell) -> CellResult:
        prepared, target = self._prepared, self._target
        clock, division = prepared.clock, prepared.divisions[one.cell.division]
        classifier, split = CLASSIFIERS[one.cell.classifier], division.split
        labels = self._shuffled if one.cell.shuffled else target.values
        with clock.stage("represent"):
            features = self._inputs.of(one)
        # What a half or a permutation of the labels costs is what its representation costs, which is measured once.
        with clock.stage("cost"):
            shown = one.cell.group in prepared.plan.groups
            milliseconds = self._inputs.milliseconds(one) if shown else None
        # The cells of one representation and group follow each other, and share what is made of their features.
        if self._examples is None or self._examples.values is not features.matrix or self._examples.split is not split:
            layers = torch.from_numpy(features.layers)
            self._examples = Examples(features.matrix, split, layers, features.factors, division.folds)
        setup = replace(self._setup, seeds=division.seeds(prepared.config))
        begin = time.perf_counter()
        with clock.stage("train" if classifier.by_epochs else "probe"):
            learnt = fitted(classifier, self._examples, labels, target.outputs, setup)
        seconds = time.perf_counter() - begin
        with clock.stage("score"):
            test = Asked(target.task, target.names, target.values[split.test].numpy())
            result = scored(one.cell, features.names, learnt, test, seconds, milliseconds)
        count = prepared.config.permutations * (classifier.name in prepared.config.permuted)
        if not (shown and count and not one.cell.division and not one.cell.shuffled):
            return result
        with clock.stage("permute"):
            return replace(result, permuted=self._permuted(result, count, split.resubstitution))

    def _permuted(self, result: CellResult, count: int, tiny: bool) -> Permuted | None:
        """What the probe of a cell reads of permuted labels; None where its features tell nothing or nothing is tested."""
        if result.note or tiny:
            return None
        assert self._examples is not None
        target, seed = self._target, self._prepared.config.seed
        score = result.runs[0].accuracy
        return permuted(result.classifier, self._examples, target.values, target.outputs, target.task, score, count, seed)


def _found(checkpoints: Checkpoints, one: PlannedCell) -> CellResult:
    """A cell that a worker says it has saved."""
    result = checkpoints.load(one.cell, one.layers)
    if result is None:
        raise LoraPerfError(
            expected=f"the cell {one.cell} in {checkpoints.folder}, where a worker has saved it",
            found="none of these settings, data and code",
            fix="use the same data, code and processors on all machines",
        )
    return result
