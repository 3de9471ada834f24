"""Checkpoints: finished cells on disk, each under a key of everything that its numbers depend on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
import xxhash

from lora_perf import store
from lora_perf.experiment.cells import Cell, CellResult, cell_from_json
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.layout import Layer
from lora_perf.provenance import code_version
from lora_perf.split import Split


class Checkpoints:
    """Finished cells in a folder.

    Args:
        folder: one file a cell.
        config: the settings, of which those that shape a number count.
        fingerprint: of the zoo.
        split: the rows of each part.
        device: results of a GPU and of a CPU are kept apart.
    """

    def __init__(self, folder: Path, config: ExperimentConfig, fingerprint: str, split: Split, device: torch.device) -> None:
        self.folder = folder
        rows = xxhash.xxh3_128()
        for part in (split.train, split.validation, split.test):
            rows.update(part.numpy().tobytes() + b"/")
        self._identity = [fingerprint, rows.hexdigest(), device.type, code_version(), config.seed]
        self._training = [asdict(config.training), list(config.seeds)]

    def key(self, cell: Cell, layers: tuple[Layer, ...]) -> str:
        """A hash of settings, data, split, code and cell; a probe's numbers do not depend on the training recipe."""
        training = self._training if cell.classifier == "mlp" else []
        identity = [*self._identity, training, asdict(cell), [layer.name for layer in layers]]
        return xxhash.xxh3_128_hexdigest(json.dumps(identity).encode())

    def load(self, cell: Cell, layers: tuple[Layer, ...]) -> CellResult | None:
        """The finished cell of these very settings, data and code, or None."""
        try:
            saved = json.loads((self.folder / f"{cell.name}.json").read_bytes())
            if saved["key"] != self.key(cell, layers):
                return None
            return cell_from_json(saved["cell"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, result: CellResult, layers: tuple[Layer, ...]) -> None:
        """Keeps a finished cell, whole or not at all."""
        record = {"key": self.key(result.cell, layers), "cell": asdict(result)}
        with store.replacing(self.folder / f"{result.cell.name}.json") as file:
            file.write(json.dumps(record, separators=(",", ":")).encode())
