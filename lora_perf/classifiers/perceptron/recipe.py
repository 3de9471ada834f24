"""The recipe by which perceptrons are trained."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch

from lora_perf.core.errors import LoraPerfError
from lora_perf.core.resources import bfloat16_units

# The settings that are flags of commands, and settings of `lora_perf.experiment.run`, by their names there.
_NAMED = ("dropout", "lr", "weight_decay", "batch_size", "epochs", "patience", "shuffle")
_FLAGS = {name: f" (--{name.replace('_', '-')})" for name in _NAMED}
_FLAGS["hidden"] = " (hidden_dim, --hidden-dim)"

Shuffle = Literal["rows", "windows"]
_WIDE_ENOUGH = 256  # hidden units: below, turning weights and gradients to bfloat16 and back costs more than products gain


@dataclass(frozen=True)
class TrainingConfig:
    """How a classifier is trained; the defaults are the recipe of the original study.

    Attributes:
        hidden, layers, dropout: shape of the perceptron.
        lr, weight_decay, batch_size, epochs: Adam with L2, and the largest number of epochs.
        patience: epochs without a better validation accuracy after which a run stops.
        plateau_patience, plateau_factor: of ReduceLROnPlateau on validation accuracy.
        amp: products in bfloat16 where the processor is made for them (see `product_type`); weights, moments, statistics
            and the loss stay float32.
    """

    hidden: int = 512
    layers: int = 3
    dropout: float = 0.5
    lr: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 64
    epochs: int = 300
    patience: int = 15
    plateau_patience: int = 10
    plateau_factor: float = 0.5
    amp: bool = True
    shuffle: Shuffle = "rows"

    def __post_init__(self) -> None:
        bounds: dict[str, tuple[str, bool]] = {
            "hidden": ("at least 1", self.hidden >= 1),
            "layers": ("at least 1", self.layers >= 1),
            "dropout": ("at least 0 and less than 1", 0 <= self.dropout < 1),
            "lr": ("more than 0", 0 < self.lr < float("inf")),
            "weight_decay": ("at least 0", 0 <= self.weight_decay < float("inf")),
            "batch_size": ("at least 2, since batch norm needs two samples", self.batch_size >= 2),
            "epochs": ("at least 1", self.epochs >= 1),
            "patience": ("at least 1", self.patience >= 1),
            "plateau_patience": ("at least 0", self.plateau_patience >= 0),
            "shuffle": (f"one of {', '.join(get_args(Shuffle))}", self.shuffle in get_args(Shuffle)),
            "plateau_factor": ("more than 0 and less than 1", 0 < self.plateau_factor < 1),
        }
        for one in fields(self):
            wanted, good = bounds.get(one.name, ("", True))
            if not good:
                told = one.name + _FLAGS.get(one.name, "")
                raise LoraPerfError(expected=f"{told} {wanted}", found=str(getattr(self, one.name)), fix=f"change {told}")


def product_type(config: TrainingConfig, device: torch.device, values: torch.dtype = torch.float32) -> torch.dtype:
    """The type in which the products of training are computed: bfloat16 with `amp` on a GPU, and on a CPU with units for it."""
    on_gpu = device.type == "cuda"
    fast = on_gpu or (values == torch.float32 and config.hidden >= _WIDE_ENOUGH and bfloat16_units())
    return torch.bfloat16 if config.amp and fast else values
