"""Checkpoints: finished cells on disk, each under a key of everything that its numbers depend on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor

from lora_perf.classifiers import CLASSIFIERS, seeds_of
from lora_perf.classifiers.perceptron.recipe import product_type
from lora_perf.core.layout import Layer
from lora_perf.core.provenance import code_version, device_kind
from lora_perf.core.target import Target
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.divisions import Division
from lora_perf.io.checked import count_as_absent, read_record, write_record
from lora_perf.report.cells import Asked, Cell, CellResult, cell_from_json
from lora_perf.representations import REPRESENTATIONS

CELLS = "cells"  # the folder of finished cells in the output folder
_NAME, _KEY = 100, 8  # characters of a cell's name and of its key in the name of its file


class Checkpoints:
    """Finished cells in a folder, those of several settings, data sets and versions side by side.

    Args:
        folder: one file a cell, `<name of the cell>.<8 digits of its key>.json`.
        config: the settings, of which those that shape a number count.
        zoo: its fingerprint counts.
        target: what is learned.
        divisions: the rows of each part, and how many runs there are, by the name of the split.
        device: results of a CPU and of each model of GPU are kept apart.
    """

    def __init__(
        self,
        folder: Path,
        config: ExperimentConfig,
        zoo: Zoo,
        target: Target,
        divisions: Mapping[str, Division],
        device: torch.device,
    ) -> None:
        self.folder = folder
        self._target, self._divisions = target, divisions
        splits = {name: one.split for name, one in divisions.items()}
        self._rows = {name: _digest(split.train, split.validation, split.test) for name, split in splits.items()}
        self._folds = {name: _digest(*one.folds) if one.folds else "" for name, one in divisions.items()}
        self._of_split = {name: one.seeds(config) for name, one in divisions.items()}
        learned = [target.task, target.names, _digest(target.values)]
        self._identity = [zoo.fingerprint, learned, device_kind(device), code_version(), config.seed]
        products = str(product_type(config.training, device))  # which the processor decides
        self._recipe = [asdict(config.training), products]
        self._permutations, self._permuted = config.permutations, config.permuted
        self._versions: dict[str, list[str]] = {}

    def key(self, cell: Cell, layers: tuple[Layer, ...]) -> str:
        """A hash of settings, data, split, code, that of users included, and cell: of a recipe only where it is followed."""
        classifier = CLASSIFIERS[cell.classifier]
        how = self._recipe if classifier.by_epochs else self._folds[cell.division]
        asked: list[Any] = [how, seeds_of(classifier, self._of_split[cell.division])]
        if cell.name not in self._versions:  # of users' files, which are read for it
            self._versions[cell.name] = [classifier.version, REPRESENTATIONS[cell.representation].version]
        if cell.classifier in self._permuted:
            asked.append(self._permutations)
        names = [layer.name for layer in layers]
        identity = [*self._identity, self._rows[cell.division], asked, self._versions[cell.name], asdict(cell), names]
        return xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())

    def path(self, cell: Cell, layers: tuple[Layer, ...]) -> Path:
        """Where a cell is kept."""
        name = re.sub(r"[^\w.+-]", "_", cell.name, flags=re.ASCII)[:_NAME]
        return self.folder / f"{name}.{self.key(cell, layers)[:_KEY]}.json"

    def load(self, cell: Cell, layers: tuple[Layer, ...]) -> CellResult | None:
        """The finished cell of these very settings, data and code, or None.

        One that was damaged, or changed by hand, counts as none, with a warning.
        """
        path = self.path(cell, layers)
        record = read_record(path, self.key(cell, layers))
        if record is None:
            return None
        seeds = seeds_of(CLASSIFIERS[cell.classifier], self._of_split[cell.division])
        try:
            truth = self._target.values[self._divisions[cell.division].split.test].numpy()
            return cell_from_json(record, cell, seeds, Asked(self._target.task, self._target.names, truth))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            count_as_absent(path, f"no finished cell ({type(error).__name__}: {error})")
            return None

    def save(self, result: CellResult, layers: tuple[Layer, ...]) -> None:
        """Keeps a finished cell, whole or not at all."""
        write_record(self.path(result.cell, layers), self.key(result.cell, layers), result.plain())


def _digest(*tensors: Tensor) -> str:
    found = xxhash.xxh3_128()
    for one in tensors:
        found.update(one.contiguous().numpy().tobytes() + b"/")
    return found.hexdigest()
