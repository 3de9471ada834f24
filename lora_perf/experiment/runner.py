"""Runs an experiment: load, represent once, train every cell, save each as it is done."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import xxhash

from lora_perf import store
from lora_perf.cache import FeatureCache
from lora_perf.classifier import train
from lora_perf.errors import LoraPerfError
from lora_perf.experiment.cells import Cell, CellResult, Checkpoints, result_of
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.plan import Plan, PlannedCell, make_plan
from lora_perf.experiment.results import Results
from lora_perf.features import Features, concatenate
from lora_perf.profiling import StageClock
from lora_perf.provenance import machine, versions
from lora_perf.represent import represent
from lora_perf.representations import REPRESENTATIONS, Concatenation
from lora_perf.sources import load, pack
from lora_perf.split import Split, make_split
from lora_perf.zoo import Zoo
from lora_perf.zoos import EMBEDDED


class Observer(Protocol):
    """What is told of an experiment while it runs."""

    def opened(self, zoo: Zoo, split: Split, plan: Plan, taken: int) -> None:
        """The zoo is open; `taken` cells were finished before."""

    def representing(self, names: list[str], total: int) -> None:
        """A streamed pass over `total` adapters begins."""

    def represented(self, count: int) -> None:
        """`count` more adapters are done."""

    def started(self, planned: PlannedCell) -> None:
        """Training of a cell begins."""

    def epoch(self, seed: int, epoch: int, accuracy: float) -> None:
        """One run of the cell ended an epoch."""

    def finished(self, result: CellResult) -> None:
        """A cell is trained, scored and saved."""


def packed_path(config: ExperimentConfig) -> Path | None:
    """Where `--preprocess-only` keeps the packed form of the data set; None where that is packed already.

    A path is known by the names, sizes and times of its files, a Hub data set by its id.
    """
    if config.dataset in EMBEDDED:
        return None
    path = Path(config.dataset).expanduser()
    identity = [config.dataset, config.label_column]
    if path.is_file() and path.suffix == ".safetensors":
        return None
    if path.exists():
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        states = [(file, file.stat()) for file in files if file.is_file()]
        identity = [str(path.resolve()), config.label_column]
        identity += [f"{file.name} {state.st_size} {state.st_mtime_ns}" for file, state in states]
    return config.cache / f"zoo-{xxhash.xxh3_128_hexdigest('|'.join(identity).encode())}.safetensors"


def open_zoo(config: ExperimentConfig) -> Zoo:
    """The zoo of an experiment: its packed form where `--preprocess-only` made one, else the data set itself."""
    packed = packed_path(config)
    if packed is not None and packed.exists():
        return store.open_packed(packed)
    return load(config.dataset, label_column=config.label_column)


def preprocess(config: ExperimentConfig) -> Path:
    """Packs the data set into the cache folder; returns the packed file, which is there already for packed sources."""
    packed = packed_path(config)
    if packed is None:
        return EMBEDDED.get(config.dataset, Path(config.dataset))
    if not packed.exists():
        pack(config.dataset, packed, label_column=config.label_column)
    return packed


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment whose settings and data were seen to fit each other; no weight is read yet."""

    config: ExperimentConfig
    device: torch.device
    clock: StageClock
    zoo: Zoo
    plan: Plan
    split: Split


def prepare(config: ExperimentConfig) -> Prepared:
    """Opens the zoo and makes plan and split; writes nothing.

    Raises:
        LoraPerfError: settings or data that cannot be used.
    """
    config = config.effective
    device = config.torch_device()
    clock = StageClock(device)
    with clock.stage("load"):
        zoo = open_zoo(config)
        plan = make_plan(config, zoo.layout)
        split = make_split(zoo.labels, zoo.classes, zoo.split, config.split, config.seed)
    return Prepared(config, device, clock, zoo, plan, split)


def run(prepared: Prepared, observer: Observer) -> Results:
    """Runs all cells that are not finished yet.

    Raises:
        LoraPerfError: weights that cannot be used, files that cannot be written.
        KeyboardInterrupt: passed on; finished cells are saved.
    """
    config, device, clock = prepared.config, prepared.device, prepared.clock
    zoo, plan, split = prepared.zoo, prepared.plan, prepared.split
    with clock.stage("fingerprint"):
        checkpoints = Checkpoints(config.output_dir / "cells", config, zoo.fingerprint, split, device)
    results: dict[Cell, CellResult] = {}
    for one in plan.cells:
        known = checkpoints.load(one.cell, one.layers) if config.resume else None
        if known is not None:
            results[one.cell] = known
    observer.opened(zoo, split, plan, len(results))
    missing = [one for one in plan.cells if one.cell not in results]
    with clock.stage("represent"):
        features = _features(config, zoo, plan, missing, device, observer)
    truth = zoo.labels[split.test]
    labels = zoo.labels.to(device)
    for one in missing:
        observer.started(one)
        with clock.stage("train"):
            begin = time.perf_counter()
            chosen = features[one.cell.representation].select(one.layers)
            trained = train(
                chosen.values, labels, split, len(zoo.classes), config.seeds, config.training, device, observer.epoch
            )
        with clock.stage("score"):
            seconds = time.perf_counter() - begin
            result = result_of(one.cell, trained, truth, len(zoo.classes), chosen.names, seconds)
            checkpoints.save(result, one.layers)
        results[one.cell] = result
        observer.finished(result)
    return Results(
        config=_plain(config),
        dataset=_dataset(zoo, split),
        versions=versions(),
        machine=machine(device),
        seconds=clock.seconds,
        truth=truth.numpy(),
        cells=[results[one.cell] for one in plan.cells],
        groups=list(dict.fromkeys(config.layer_groups)),
    )


def _features(
    config: ExperimentConfig, zoo: Zoo, plan: Plan, missing: list[PlannedCell], device: torch.device, observer: Observer
) -> dict[str, Features]:
    """Features of the representations that some missing cell needs: from the cache, the others in one streamed pass."""
    names = list(dict.fromkeys(one.cell.representation for one in missing))
    parts = list(dict.fromkeys(part for name in names for part in _parts(name)))
    cache = FeatureCache(config.cache) if config.cache_features else None
    found: dict[str, Features] = {}
    if cache is not None:
        for name in parts:
            features = cache.load(zoo, name, plan.layers, device)
            if features is not None:
                found[name] = features
    absent = [name for name in parts if name not in found]
    if absent:
        observer.representing(absent, len(zoo))
        computed = represent(zoo, absent, layers=plan.layers, device=device, progress=observer.represented)
        for name, features in computed.items():
            found[name] = features
            if cache is not None:
                cache.save(zoo, name, plan.layers, features)
    for name in names:
        if name not in found:
            found[name] = concatenate({part: found[part] for part in _parts(name)})
    return found


def _parts(name: str) -> tuple[str, ...]:
    one = REPRESENTATIONS[name]
    return one.parts if isinstance(one, Concatenation) else (name,)


def _plain(config: ExperimentConfig) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()}


def _dataset(zoo: Zoo, split: Split) -> dict[str, Any]:
    return {
        "name": zoo.name,
        "fingerprint": zoo.fingerprint,
        "adapters": len(zoo),
        "layers": len(zoo.layout),
        "parameters": zoo.layout.p,
        "classes": zoo.classes,
        "split": split.kind,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "resubstitution": split.resubstitution,
    }


def check_writable(folder: Path) -> None:
    """Raises LoraPerfError where the output folder cannot be written, before any work is done."""
    probe = folder / ".writable"
    with store.replacing(probe) as file:
        file.write(b"")
    try:
        probe.unlink()
    except OSError as error:
        raise LoraPerfError(
            expected=f"a folder that can be written at {folder}", found=str(error), fix="choose another --output-dir"
        ) from None
