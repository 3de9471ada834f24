"""Runs an experiment: load, represent once, train every cell, save each as it is done."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from typing import Any

from lora_perf.classifiers.perceptron.recipe import product_type
from lora_perf.classifiers.scores import trivial
from lora_perf.core.provenance import machine, versions
from lora_perf.core.split import absent_classes
from lora_perf.experiment.dataset import at_hand, packed_zoo
from lora_perf.experiment.divisions import Division, question_of, stands_in_both
from lora_perf.experiment.folds import FOLDS
from lora_perf.experiment.layers import further_groups
from lora_perf.experiment.observer import Observer
from lora_perf.experiment.plan import PlannedCell
from lora_perf.experiment.prepared import Prepared as Prepared
from lora_perf.experiment.prepared import prepare as prepare
from lora_perf.experiment.prepared import settled
from lora_perf.experiment.repeated import repeated
from lora_perf.experiment.room import refuse_too_little
from lora_perf.experiment.training import Training
from lora_perf.io.atomic import check_writable as check_writable
from lora_perf.report.cells import Cell, CellResult
from lora_perf.report.findings import best_cell
from lora_perf.report.parts import MODULE, ranking
from lora_perf.report.results import Results
from lora_perf.report.tested import Tested
from lora_perf.representations import count


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
            question = question_of(prepared.config, packed, prepared.question.transfer)
            prepared = replace(prepared, opened=packed, question=question)
    with prepared.clock.stage("fingerprint"):
        prepared = settled(prepared)
        training = Training(prepared, observer, prepared.checkpoints() if keep else None)
    plan = prepared.plan
    cells = training.known(plan.cells)
    observer.opened(prepared.question, prepared.split, plan, len(cells))
    if prepared.copies:
        observer.say(str(prepared.copies))
    if 0 < (folds := len(prepared.divisions[""].folds)) < FOLDS:
        observer.say(f"--choose folds: {folds} folds instead of {FOLDS}, as groups or classes allow no more")
    cells |= training.train([one for one in plan.cells if one.cell not in cells])
    results = _results(prepared, [cells[one.cell] for one in plan.cells])
    strongest = best_cell(results).cell
    mapped = training.mapped(next(one for one in plan.cells if one.cell == strongest), cells[strongest])
    results = replace(results, cells=[replace(one, map=None) if one.cell != strongest else mapped for one in results.cells])
    if not plan.modules:
        return results
    further = _further(prepared, results)
    known = training.known(further)
    observer.further(further, len(known))
    known |= training.train([one for one in further if one.cell not in known])
    return replace(results, cells=[*results.cells, *(known[one.cell] for one in further)])


def _further(prepared: Prepared, results: Results) -> list[PlannedCell]:
    """The cells of several modules, by how these rank in each representation to each classifier."""
    config, plan, layout = prepared.config, prepared.plan, prepared.zoo.layout
    cells = []
    for name in plan.representations:
        for classifier in config.readers:
            order = [f"{MODULE}{one.name}" for one in ranking(results, name, classifier)]
            for group, layers in further_groups(layout, plan.modules, order, config.seed) if order else ():
                cells.append(PlannedCell(Cell(name, group, classifier), layers, count(name, layout, layers)))
    return cells


def _results(prepared: Prepared, cells: Sequence[CellResult]) -> Results:
    config, zoo, plan, split = prepared.config, prepared.zoo, prepared.plan, prepared.split
    return Results(
        config=json.loads(json.dumps(asdict(config), default=str)),  # so that results are the same once they are read back
        dataset=_dataset(prepared),
        versions=versions(),
        machine=machine(prepared.device)
        | {"products": str(product_type(config.training, prepared.device)).removeprefix("torch.")},
        seconds=prepared.clock.seconds,
        truth=prepared.question.target.values[split.test].numpy(),
        cells=cells,
        groups=plan.groups,
        halves={name: list({layer.module: 0 for layer in layers}) for name, layers in plan.halves.items()},
        rows=split.test.tolist(),
        adapters=[zoo.names[i] for i in split.test.tolist()],
        tested={name: _tested(prepared, one) for name, one in prepared.divisions.items()},
    )


def _tested(prepared: Prepared, division: Division) -> Tested:
    question, split = prepared.question, division.split
    clusters = None if division.kind == "random" else question.clusters(split.test)
    learned = len(split.train) + (0 if split.resubstitution else len(split.validation))
    return Tested(
        question.target.values[split.test].numpy(),
        split.test.tolist(),
        None if clusters is None else clusters.numpy(),
        learned,
        len(split.train),
        division.kind,
    )


def train_cells(prepared: Prepared, observer: Observer, cells: Collection[PlannedCell]) -> int:
    """Trains some cells and saves each in the output folder; returns how many were finished before.

    Any number of processes may do so at a time, each with cells of its own.
    """
    if prepared.config.cache_features:
        check_writable(prepared.config.cache)
    prepared = settled(prepared)
    training = Training(prepared, observer, prepared.checkpoints())
    known = training.known([*cells])
    observer.opened(prepared.question, prepared.split, replace(prepared.plan, cells=tuple(cells)), len(known))
    training.train([one for one in cells if one.cell not in known])
    return len(known)


def _dataset(prepared: Prepared) -> dict[str, Any]:
    question, split, zoo = prepared.question, prepared.split, prepared.zoo
    target, groups = question.target, question.groups
    classes = target.task == "classes"
    score, measures = trivial(target.task, target.values[split.train].numpy(), target.values[split.test].numpy())
    return {
        "name": zoo.name,
        "fingerprint": zoo.fingerprint,
        **({"origin": zoo.origin} if zoo.origin else {}),
        "adapters": question.own,
        "layers": len(zoo.layout),
        "parameters": zoo.layout.p,
        "task": target.task,
        "target": target.name,
        "classes": list(target.names),
        "baseline": {"score": score, **measures},
        "groups": None if groups is None else {"column": groups.name, "count": len(groups.names)},
        "groups_on_both_sides": stands_in_both(question, split),
        "copies": None if prepared.copies is None else prepared.copies.plain(),
        "transfer": None if question.transfer is None else question.transfer.plain(),
        "split": split.kind,
        "folds": len(prepared.divisions[""].folds),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "resubstitution": split.resubstitution,
        "repeated": repeated(zoo, split).plain(),
        "untrained": absent_classes(target.values, target.names, split.train) if classes else [],
        "untested": absent_classes(target.values, target.names, split.test) if classes else [],
        "skipped": [{"path": one.path, "reason": one.reason} for one in zoo.skipped],
    }
