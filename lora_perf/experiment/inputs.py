"""What the classifiers of an experiment read: features computed in one pass, fitted on the train rows, or those of controls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence

import torch

from lora_perf.core.features import Features, concatenate
from lora_perf.core.layout import Layer
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.divisions import Division
from lora_perf.experiment.observer import Observer
from lora_perf.experiment.plan import PlannedCell
from lora_perf.representations import REPRESENTATIONS, elsewhere
from lora_perf.representations.cache import FeatureCache
from lora_perf.representations.distortion import is_sketch, sketch_error
from lora_perf.representations.elsewhere import made_elsewhere
from lora_perf.representations.streaming import represent

# Of a cost: enough adapters that the calls of a block weigh little, few enough that the ten take a second on two groups.
_SAMPLE = 64
_REPEATS = 3


class Inputs:
    """The features of an experiment's cells, of which one pass represents all layers that some cell needs."""

    def __init__(
        self,
        config: ExperimentConfig,
        zoo: Zoo,
        layers: tuple[Layer, ...],
        divisions: Mapping[str, Division],
        device: torch.device,
        observer: Observer,
    ) -> None:
        self._zoo, self._layers, self._divisions = zoo, layers, divisions
        self._device, self._observer = device, observer
        self._caches = {
            name: FeatureCache(config.cache, one.split, one.seed, one.draw) if config.cache_features else None
            for name, one in divisions.items()
        }
        self._cache = self._caches[""]
        self._computed: dict[tuple[str, str], Features] = {}  # by name and division, which is "" but for other draws
        self._milliseconds: dict[tuple[str, str], float] = {}
        # Cells of one representation and group follow each other, so that the last ones are all that is asked for again.
        self._last: tuple[tuple[str, str, str], Features] | None = None

    def compute(self, cells: Sequence[PlannedCell]) -> None:
        """Makes what is not there of the features that one pass computes: from the cache, the others in a pass a draw."""
        for division in dict.fromkeys(self._drawn(one) for one in cells):
            self._compute(division, dict.fromkeys(one.cell.representation for one in cells if self._drawn(one) == division))

    def _drawn(self, one: PlannedCell) -> str:
        """The division whose draw of random vectors a cell reads."""
        return one.cell.division if self._divisions[one.cell.division].draw else ""

    def _compute(self, division: str, names: Iterable[str]) -> None:
        names = [name for name in names if REPRESENTATIONS[name].streamed and (name, division) not in self._computed]
        parts = list(dict.fromkeys(part for name in names for part in REPRESENTATIONS[name].parts))
        found = {name: kept for name in parts if (kept := self._load(division, name)) is not None}
        absent = [name for name in parts if name not in found]
        if absent:
            self._observer.representing(absent, len(self._zoo))
            computed = represent(
                self._zoo,
                absent,
                layers=self._layers,
                device=self._device,
                progress=self._observer.represented,
                draw=self._divisions[division].draw,
            )
            for name, features in computed.items():
                found[name] = features
                self._save(division, name, features)
        for name in names:
            if name not in found:
                found[name] = concatenate({part: found[part] for part in REPRESENTATIONS[name].parts})
        self._computed |= {(name, division): found[name] for name in names}
        for name in filter(is_sketch, [] if division else names):
            self._observer.say(str(sketch_error(sample(self._zoo, _SAMPLE), self._layers, name)))

    def share(self, names: Iterable[str], scheduler: str) -> None:
        """Has the workers of a cluster make what they find in the cache later, where that is more than one task's work."""
        parts = dict.fromkeys(part for name in names for part in REPRESENTATIONS[name].parts)
        there = [name for name in parts if made_elsewhere(REPRESENTATIONS[name])]
        if self._cache is None or self._zoo.nbytes <= elsewhere.TASK_NBYTES or self._device.type != "cpu":
            return
        absent = [name for name in there if not self._cache.holds(self._zoo, name, self._layers, self._device)]
        if absent:
            self._observer.representing(absent, len(self._zoo))
            done = self._observer.represented
            made = represent(self._zoo, absent, layers=self._layers, scheduler=scheduler, progress=done)
            for name, features in made.items():
                self._save("", name, features)

    def of(self, one: PlannedCell) -> Features:
        """The features of a cell; learned ones are fitted here."""
        fitted = REPRESENTATIONS[one.cell.representation].needs == "train rows"
        key = one.cell.representation, one.cell.group, one.cell.division if fitted else self._drawn(one)
        if self._last is None or self._last[0] != key:
            self._last = key, self._make(one)
        return self._last[1]

    def at_hand(self, one: PlannedCell) -> Features | None:
        """The features of a cell; None where they are fitted and neither in memory nor in the cache."""
        name, division = one.cell.representation, one.cell.division
        if REPRESENTATIONS[name].needs != "train rows":
            self.compute([one])
            return self.of(one)
        if self._last is not None and self._last[0] == (name, one.cell.group, division):
            return self._last[1]
        cache = self._caches[division]
        return None if cache is None else cache.load(self._zoo, name, one.layers, self._device)

    def milliseconds(self, one: PlannedCell) -> float | None:
        """What the features of a cell cost an adapter, of weights in memory; None where they came from the cache.

        The median of a few calls on a sample for a representation of the registry, alone and warm; for a learned one its fit
        and the features of all adapters.
        """
        key = one.cell.representation, one.cell.group
        if key not in self._milliseconds and (key[0], "") in self._computed:
            self._milliseconds[key] = _measured(self._zoo, key[0], one.layers, self._device)
        return self._milliseconds.get(key)

    def know(self, one: PlannedCell, milliseconds: float | None) -> None:
        """Takes over what an earlier run measured."""
        if milliseconds is not None:
            self._milliseconds[one.cell.representation, one.cell.group] = milliseconds

    def _make(self, one: PlannedCell) -> Features:
        """Features of one layer group: some columns of what the pass computed, or made of this group alone."""
        name, group = one.cell.representation, one.cell.group
        if (known := self._computed.get((name, self._drawn(one)))) is not None:
            return known.select(one.layers)
        fitted = REPRESENTATIONS[name].needs == "train rows"
        if fitted:
            self._observer.fitting(name, group)
        division, cache = self._divisions[one.cell.division], self._caches[one.cell.division]
        kept = None if cache is None else cache.load(self._zoo, name, one.layers, self._device)
        if kept is not None:
            return kept
        begin = time.perf_counter()
        made = represent(self._zoo, [name], layers=one.layers, device=self._device, train=division.split, seed=division.seed)
        if fitted and not one.cell.division:
            self._milliseconds[name, group] = 1e3 * (time.perf_counter() - begin) / len(self._zoo)
        if cache is not None:
            cache.save(self._zoo, name, one.layers, made[name])
        return made[name]

    def _load(self, division: str, name: str) -> Features | None:
        cache = self._caches[division]
        return None if cache is None else cache.load(self._zoo, name, self._layers, self._device)

    def _save(self, division: str, name: str, features: Features) -> None:
        if (cache := self._caches[division]) is not None:
            cache.save(self._zoo, name, self._layers, features)


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
