"""Runs an experiment: load, represent once, train every cell, save each as it is done."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, fitted
from lora_perf.classifiers.perceptron.recipe import product_type
from lora_perf.classifiers.protocol import refuse_task
from lora_perf.classifiers.scores import trivial
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.profiling import StageClock, stage
from lora_perf.core.provenance import machine, versions
from lora_perf.core.split import Split, absent_classes
from lora_perf.core.zoo import DamagedError, Zoo
from lora_perf.experiment.checkpoints import CELLS, Checkpoints
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.controls import shuffled_labels
from lora_perf.experiment.copies import Copies, copies_in
from lora_perf.experiment.dataset import at_hand, open_zoo, packed_path, packed_zoo
from lora_perf.experiment.divisions import Division, Question, divisions_of, question_of, stands_in_both
from lora_perf.experiment.inputs import Inputs
from lora_perf.experiment.observer import Observer
from lora_perf.experiment.plan import Plan, PlannedCell, make_plan
from lora_perf.experiment.repeated import repeated
from lora_perf.experiment.room import refuse_too_little
from lora_perf.io.atomic import check_writable as check_writable
from lora_perf.io.checked import count_as_absent
from lora_perf.report.cells import Asked, Cell, CellResult, scored
from lora_perf.report.results import Results, Tested
from lora_perf.report.wording import RANDOM
from lora_perf.representations import refuse_ranks


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment whose settings and data were seen to fit each other; no weight is read yet."""

    config: ExperimentConfig
    device: torch.device
    clock: StageClock
    opened: Zoo
    question: Question
    plan: Plan
    divisions: Mapping[str, Division]
    copies: Copies | None = None

    @property
    def zoo(self) -> Zoo:
        """The adapters that the question is about, labelled by what is asked."""
        return self.question.zoo

    @property
    def split(self) -> Split:
        """The first split."""
        return self.divisions[""].split


def prepare(config: ExperimentConfig, zoo: Zoo | None = None, *, anew: bool = False) -> Prepared:
    """Opens the zoo and makes plan and split; writes nothing.

    Args:
        zoo: one that is open already, instead of `config.dataset`, which is empty then.
        anew: open the data set itself, whether or not its packed form is in the cache.
    """
    config = config.effective
    device = config.torch_device()
    clock = StageClock(device)
    with clock.stage("load"):
        opened = open_zoo(config, anew=anew) if zoo is None else zoo
        plan = make_plan(config, opened.layout, one_rank=opened.ranks is None)
        question = question_of(config, opened)
        divisions = divisions_of(config, question)
        refuse_ranks(question.zoo, plan.representations)
        for one in plan.cells:
            classifier = CLASSIFIERS[one.cell.classifier]
            refuse_task(classifier, question.target)
            if one.features is not None:
                classifier.refuse(len(divisions[""].split.train), one.features)
    return Prepared(config, device, clock, opened, question, plan, divisions)


def run(prepared: Prepared, observer: Observer, *, keep: bool = True) -> Results:
    """Runs all cells that are not finished yet.

    Args:
        keep: take finished cells from the output folder, and save each one there.

    Raises:
        LoraPerfError: weights that cannot be used, files that cannot be written.
        KeyboardInterrupt: passed on; finished cells are saved.
    """
    if prepared.config.cache_features:
        check_writable(prepared.config.cache)
    refuse_too_little(prepared.config, prepared.plan, prepared.zoo, prepared.device)
    if not at_hand(prepared.zoo, prepared.plan.representations):
        with prepared.clock.stage("pack"):
            packed = packed_zoo(prepared.config, prepared.opened, observer)
            prepared = replace(prepared, opened=packed, question=question_of(prepared.config, packed))
    with prepared.clock.stage("fingerprint"):
        prepared = _settled(_undamaged(prepared))
    config, device, clock = prepared.config, prepared.device, prepared.clock
    zoo, plan, split = prepared.zoo, prepared.plan, prepared.split
    with clock.stage("fingerprint"):
        checkpoints = _checkpoints(prepared) if keep else None
    results = _train(prepared, observer, checkpoints)
    return Results(
        config=json.loads(json.dumps(asdict(config), default=str)),  # so that results are the same once they are read back
        dataset=_dataset(prepared),
        versions=versions(),
        machine=machine(device) | {"products": str(product_type(config.training, device)).removeprefix("torch.")},
        seconds=clock.seconds,
        truth=prepared.question.target.values[split.test].numpy(),
        cells=[results[one.cell] for one in plan.cells],
        groups=plan.groups,
        halves={name: list({layer.module: 0 for layer in layers}) for name, layers in plan.halves.items()},
        rows=split.test.tolist(),
        adapters=[zoo.names[i] for i in split.test.tolist()],
        tested={name: _tested(prepared, name, one.split) for name, one in prepared.divisions.items()},
    )


def _tested(prepared: Prepared, name: str, split: Split) -> Tested:
    question = prepared.question
    clusters = None if name == RANDOM else question.clusters(split.test)
    learned = len(split.train) + (0 if split.resubstitution else len(split.validation))
    return Tested(
        question.target.values[split.test].numpy(),
        split.test.tolist(),
        None if clusters is None else clusters.numpy(),
        learned,
    )


def _checkpoints(prepared: Prepared) -> Checkpoints:
    splits = {name: one.split for name, one in prepared.divisions.items()}
    config = prepared.config
    return Checkpoints(config.output_dir / CELLS, config, prepared.zoo, prepared.question.target, splits, prepared.device)


def _settled(prepared: Prepared) -> Prepared:
    """What was prepared, divided anew where adapters are copies of each other: none stands on both sides."""
    if all(one.split.kind in ("zoo", "original", "tiny") for one in prepared.divisions.values()):
        return prepared
    copies = copies_in(prepared.config, prepared.zoo)
    divisions = divisions_of(prepared.config, prepared.question, copies.of) if copies else prepared.divisions
    return replace(prepared, divisions=divisions, copies=copies)


def train_cells(prepared: Prepared, observer: Observer, names: Collection[str]) -> int:
    """Trains some cells of a plan, by their names, and saves each in the output folder; returns how many were finished before.

    Any number of processes may do so at a time, each with cells of its own.
    """
    if prepared.config.cache_features:
        check_writable(prepared.config.cache)
    prepared = _settled(_undamaged(prepared))
    config, plan = prepared.config, prepared.plan
    chosen = replace(prepared, plan=replace(plan, cells=tuple(one for one in plan.cells if one.cell.name in names)))
    checkpoints = _checkpoints(prepared)
    taken = sum(checkpoints.load(one.cell, one.layers) is not None for one in chosen.plan.cells) if config.resume else 0
    _train(chosen, observer, checkpoints)
    return taken


def _train(prepared: Prepared, observer: Observer, checkpoints: Checkpoints | None) -> dict[Cell, CellResult]:
    """The cells of a plan: from the checkpoints, from a cluster, or trained here."""
    config, plan, zoo, clock = prepared.config, prepared.plan, prepared.zoo, prepared.clock
    inputs = Inputs(config, zoo, plan.layers, prepared.divisions, prepared.device, observer)
    results: dict[Cell, CellResult] = {}
    for one in plan.cells:
        known = checkpoints.load(one.cell, one.layers) if checkpoints and config.resume else None
        if known is not None:
            results[one.cell] = known
            inputs.know(one, known.milliseconds)
    observer.opened(prepared.question, prepared.split, plan, len(results))
    if prepared.copies:
        observer.say(str(prepared.copies))
    missing = [one for one in plan.cells if one.cell not in results]
    if config.scheduler is not None and missing and checkpoints is not None:
        from lora_perf.experiment.elsewhere import trained_elsewhere  # which runs this very module there

        with clock.stage("cluster"):
            inputs.share(dict.fromkeys(one.cell.representation for one in missing), config.scheduler)
            for one in trained_elsewhere(config, missing):
                results[one.cell] = _found(checkpoints, one, config)
                observer.finished(results[one.cell])
        return results
    names = dict.fromkeys(one.cell.representation for one in missing)
    with clock.stage("represent"):
        inputs.compute(names)
    train_cell = _Trainer(prepared, inputs, observer)
    for one in missing:
        observer.started(one)
        with stage(f"cell {one.cell}"):
            result = train_cell(one)
        if checkpoints:
            checkpoints.save(result, one.layers)
        results[one.cell] = result
        observer.finished(result)
    return results


def _found(checkpoints: Checkpoints, one: PlannedCell, config: ExperimentConfig) -> CellResult:
    """A cell that a worker says it has saved."""
    result = checkpoints.load(one.cell, one.layers)
    if result is None:
        raise LoraPerfError(
            expected=f"the cell {one.cell} in {config.output_dir / CELLS}, where a worker has saved it",
            found="none of these settings, data and code",
            fix="use the same data, code and processors on all machines",
        )
    return result


def _undamaged(prepared: Prepared) -> Prepared:
    """What was prepared, once its rows were seen to be those that were packed; from the data set where its cache is damaged."""
    zoo, config = prepared.zoo, prepared.config
    try:
        _ = zoo.fingerprint
    except DamagedError as error:
        packed = packed_path(config)
        promise = zoo.promise if zoo.original is None else zoo.original.promise
        if packed is None or promise is None or promise.path != str(packed):
            raise
        count_as_absent(packed, error.found)
        return replace(prepare(config, anew=True), clock=prepared.clock)
    return prepared


class _Trainer:
    """Trains and scores single cells."""

    def __init__(self, prepared: Prepared, inputs: Inputs, observer: Observer) -> None:
        self._prepared, self._inputs, self._observer = prepared, inputs, observer
        self._target = target = prepared.question.target
        self._shuffled = shuffled_labels(target.values, prepared.split, prepared.config.seed)
        config = prepared.config
        self._setup = Setup(config.seeds, config.training, prepared.device, observer.epoch, keep=False, task=target.task)
        self._examples: Examples | None = None

    def __call__(self, one: PlannedCell) -> CellResult:
        clock, target = self._prepared.clock, self._target
        classifier, split = CLASSIFIERS[one.cell.classifier], self._prepared.divisions[one.cell.division].split
        labels = self._shuffled if one.cell.shuffled else target.values
        with clock.stage("represent"):
            features = self._inputs.of(one)
        # What a half or a permutation of the labels costs is what its representation costs, which is measured once.
        with clock.stage("cost"):
            shown = one.cell.group in self._prepared.plan.groups
            milliseconds = self._inputs.milliseconds(one) if shown else None
        # The cells of one representation and group follow each other, and share what is made of their features.
        if self._examples is None or self._examples.values is not features.matrix or self._examples.split is not split:
            self._examples = Examples(features.matrix, split, torch.from_numpy(features.layers))
        begin = time.perf_counter()
        with clock.stage("train" if classifier.by_epochs else "probe"):
            learnt = fitted(classifier, self._examples, labels, target.outputs, self._setup)
        seconds = time.perf_counter() - begin
        with clock.stage("score"):
            test = Asked(target.task, target.names, target.values[split.test].numpy())
            return scored(one.cell, features.names, learnt, test, seconds, milliseconds)


def _dataset(prepared: Prepared) -> dict[str, Any]:
    question, split, zoo = prepared.question, prepared.split, prepared.zoo
    target, groups = question.target, question.groups
    classes = target.task == "classes"
    score, measures = trivial(target.task, target.values[split.train].numpy(), target.values[split.test].numpy())
    return {
        "name": zoo.name,
        "fingerprint": zoo.fingerprint,
        **({"origin": zoo.origin} if zoo.origin else {}),
        "adapters": len(zoo),
        "layers": len(zoo.layout),
        "parameters": zoo.layout.p,
        "task": target.task,
        "target": target.name,
        "classes": list(target.names),
        "baseline": {"score": score, **measures},
        "groups": None if groups is None else {"column": groups.name, "count": len(groups.names)},
        "groups_on_both_sides": stands_in_both(question, split),
        "copies": None if prepared.copies is None else prepared.copies.plain(),
        "split": split.kind,
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "resubstitution": split.resubstitution,
        "repeated": repeated(zoo, split).plain(),
        "untrained": absent_classes(target.values, target.names, split.train) if classes else [],
        "untested": absent_classes(target.values, target.names, split.test) if classes else [],
        "skipped": [{"path": one.path, "reason": one.reason} for one in zoo.skipped],
    }
