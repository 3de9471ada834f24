"""What the classifiers of an experiment read: features computed in one pass, fitted on the train rows, or those of controls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from lora_perf.core.features import Features, concatenate
from lora_perf.core.layout import Layer
from lora_perf.core.split import Split
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.observer import Observer
from lora_perf.experiment.plan import PlannedCell
from lora_perf.representations.cache import FeatureCache
from lora_perf.representations.catalogue import parts_of
from lora_perf.representations.controls import MODULE_NUMBERS, Table, module_norms, module_ranks
from lora_perf.representations.learned import LEARNED, cached, learn
from lora_perf.representations.streaming import represent

# Of a cost: enough adapters that the calls of a block weigh little, few enough that the ten take a second on two groups.
_SAMPLE = 64
_REPEATS = 3


class Inputs:
    """The features of an experiment's cells.

    Args:
        layers: those that some cell needs, which one pass represents.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        zoo: Zoo,
        layers: tuple[Layer, ...],
        split: Split,
        device: torch.device,
        observer: Observer,
    ) -> None:
        self._config, self._zoo, self._layers, self._split = config, zoo, layers, split
        self._device, self._observer = device, observer
        self._computed: dict[str, Features] = {}
        self._milliseconds: dict[tuple[str, str], float] = {}
        # Cells of one representation and group follow each other, so that the last ones are all that is asked for again.
        self._last: tuple[tuple[str, str], Features | Table] | None = None

    def compute(self, names: Sequence[str]) -> None:
        """Makes the features of representations of the registry: from the cache, the others in one streamed pass."""
        config, zoo, device = self._config, self._zoo, self._device
        parts = list(dict.fromkeys(part for name in names for part in parts_of(name)))
        cache = FeatureCache(config.cache) if config.cache_features else None
        found: dict[str, Features] = {}
        if cache is not None:
            for name in parts:
                features = cache.load(zoo, name, self._layers, device)
                if features is not None:
                    found[name] = features
        absent = [name for name in parts if name not in found]
        if absent:
            self._observer.representing(absent, len(zoo))
            computed = represent(zoo, absent, layers=self._layers, device=device, progress=self._observer.represented)
            for name, features in computed.items():
                found[name] = features
                if cache is not None:
                    cache.save(zoo, name, self._layers, features)
        for name in names:
            if name not in found:
                found[name] = concatenate({part: found[part] for part in parts_of(name)})
        self._computed = {name: found[name] for name in names}

    def of(self, one: PlannedCell) -> Features | Table:
        """The features of a cell; learned ones are fitted here."""
        key = one.cell.representation, one.cell.group
        if self._last is None or self._last[0] != key:
            self._last = key, self._make(one)
        return self._last[1]

    def milliseconds(self, one: PlannedCell) -> float | None:
        """What the features of a cell cost an adapter, of weights in memory; None where they came from the cache.

        The median of a few calls on a sample for a representation of the registry, alone and warm; for a learned one its fit
        and the features of all adapters.
        """
        key = one.cell.representation, one.cell.group
        if key not in self._milliseconds and key[0] in self._computed:
            self._milliseconds[key] = _measured(self._zoo, key[0], one.layers, self._device)
        return self._milliseconds.get(key)

    def know(self, one: PlannedCell, milliseconds: float | None) -> None:
        """Takes over what an earlier run measured."""
        if milliseconds is not None:
            self._milliseconds[one.cell.representation, one.cell.group] = milliseconds

    def _make(self, one: PlannedCell) -> Features | Table:
        name = one.cell.representation
        if name in MODULE_NUMBERS:
            return (module_ranks if name == "rank" else module_norms)(self._zoo, one.layers)
        if name in LEARNED:
            return self._fit(one)
        return self._computed[name].select(one.layers)

    def _fit(self, one: PlannedCell) -> Features:
        name, group = one.cell.representation, one.cell.group
        self._observer.fitting(name, group)
        asked: dict[str, Any] = {"layers": one.layers, "train": self._split.train}
        asked |= {"seed": self._config.seed, "device": self._device}

        def learned(seconds: float) -> None:
            self._milliseconds[name, group] = 1e3 * seconds / len(self._zoo)

        if self._config.cache_features:
            return cached(self._zoo, name, self._config.cache, learned=learned, **asked)
        begin = time.perf_counter()
        features = learn(self._zoo, name, **asked)
        learned(time.perf_counter() - begin)
        return features


def sample(zoo: Zoo, count: int) -> Zoo:
    """The first adapters of a zoo, in memory."""
    count = min(count, len(zoo))
    rows = torch.empty((count, zoo.layout.p))
    zoo.source.read(0, count, rows.numpy())
    scales, ranks = (None if table is None else table[:count] for table in (zoo.scales, zoo.ranks))
    return Zoo.from_rows(rows, zoo.layout, zoo.required_labels[:count], zoo.classes, scales=scales, ranks=ranks)


def _measured(zoo: Zoo, name: str, layers: Sequence[Layer], device: torch.device) -> float:
    """Milliseconds that a representation of some layers takes an adapter."""
    some = sample(zoo, _SAMPLE)

    def seconds() -> float:
        begin = time.perf_counter()
        represent(some, [name], layers=layers, device=device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    seconds()  # warms up
    return 1e3 * statistics.median(seconds() for _ in range(_REPEATS)) / len(some)
