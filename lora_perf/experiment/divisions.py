"""What an experiment learns of which adapters: target, groups, and the splits that it is trained and tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.grouping import Grouping, joined
from lora_perf.core.split import Split, make_split, refuse_unlearnable
from lora_perf.core.target import Target, column_of, known_rows, labels_of, refuse_missing, target_of
from lora_perf.core.text import counted
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.folds import FOLDS, inner_folds
from lora_perf.experiment.layers import folds_of
from lora_perf.experiment.sizes import of_size, size_names
from lora_perf.experiment.transfer import Transfer
from lora_perf.report.tested import Kind
from lora_perf.report.transfer import NATIVE, TRANSFER
from lora_perf.report.wording import RANDOM


@dataclass(frozen=True, eq=False)
class Division:
    """A split, with the seed that it and what is fitted on it come from.

    Attributes:
        kind: what it is for.
        runs: how many runs its cells have at most; None: as many as the settings say.
        draw: of the random vectors of sketches.
        folds: rows of each fold by which probes choose their setting; none: they choose on the validation rows.
    """

    split: Split
    seed: int
    kind: Kind = "repeat"
    runs: int | None = None
    draw: int = 0
    folds: tuple[Tensor, ...] = ()

    def seeds(self, config: ExperimentConfig) -> tuple[int, ...]:
        """Those of the runs of its cells."""
        return config.seeds[: self.runs]


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of a zoo.

    Attributes:
        zoo: the adapters, labelled by the target or by the strata of its numbers.
        target: what is learned.
        groups: adapters that belong together, where a column says so.
        transfer: where adapters of another zoo, which follow the first ones, are tested too.
    """

    zoo: Zoo
    target: Target
    groups: Grouping | None
    transfer: Transfer | None = None

    @property
    def own(self) -> int:
        """How many adapters, the first ones, are of the zoo that is learned from."""
        return len(self.zoo) if self.transfer is None else self.transfer.own

    def clusters(self, rows: Tensor) -> Tensor | None:
        """The group of each of some adapters."""
        return None if self.groups is None else self.groups.of[rows]


def question_of(config: ExperimentConfig, zoo: Zoo, transfer: Transfer | None = None) -> Question:
    """The target and the groups that the settings name.

    Raises:
        LoraPerfError: columns that are not there, or say nothing of some adapters, or not what is asked of them.
    """
    columns = [name for name in (config.target, config.group_column) if name is not None]
    if config.skip_missing and columns:
        rows = known_rows(zoo, columns)
        if not rows:
            raise LoraPerfError(
                expected=f"adapters that have {listed(columns)}", found="none", fix="choose other columns, or fill them in"
            )
        zoo = zoo if len(rows) == len(zoo) else zoo.select(rows)
    target = labels_of(zoo, config.task) if config.target is None else target_of(zoo, config.target, config.task)
    groups = None
    if config.group_column is not None:
        values = column_of(zoo, config.group_column, "group-column")
        refuse_missing(zoo, config.group_column, values)
        groups = Grouping.by(config.group_column, values)
        if len(groups.names) < 2:
            raise LoraPerfError(
                expected=f"several groups in {config.group_column}",
                found=f"one, {groups.names[0]}, of all adapters",
                fix="choose another column, or leave --group-column out",
            )
    if config.target is not None:
        labels, names = target.strata
        zoo = zoo.relabelled(labels, names)
    return Question(zoo, target, groups, transfer)


def divisions_of(config: ExperimentConfig, question: Question, copies: Tensor | None = None) -> dict[str, Division]:
    """The splits of an experiment by their names, the first as "".

    Args:
        copies: (n,) equal for adapters that are copies of each other, which stay on one side wherever rows are chosen.

    Raises:
        LoraPerfError: data that cannot be divided so.
    """
    parts = _Parts(config, question, copies)
    found = dict(_repeats(config, parts))
    first = found[""]
    if question.transfer is not None:
        found |= _transferred(config, question, parts, first)
    labels = question.zoo.required_labels
    for name, (size, draw) in size_names(config.train_sizes).items():
        split = of_size(first.split, labels, size, config.seed + draw)
        _refuse(question, split)
        found[name] = Division(split, config.seed + draw, "size")
    if config.layers == "each":
        runs = max(1, config.num_runs // FOLDS)
        for number, split in enumerate(folds_of(first.split, labels, parts.together, config.seed), start=1):
            _refuse(question, split)
            found[f"fold{number}"] = Division(split, config.seed, "fold", runs)
    if config.choose == "folds":
        found = {name: parts.with_folds(one) for name, one in found.items()}
    for draw in range(1, config.draws):  # on the first split, by its folds
        found[f"draw{draw + 1}"] = replace(found[""], seed=config.seed + draw, kind="draw", draw=draw)
    return found


class _Parts:
    """Splits adapters of a question that follow each other: those of one of its zoos."""

    def __init__(self, config: ExperimentConfig, question: Question, copies: Tensor | None) -> None:
        self.question, self.copies = question, copies
        self.method = "stratified" if config.splits > 1 and config.split == "auto" else config.split
        self.groups = None if question.groups is None else question.groups.of

    @property
    def together(self) -> Tensor | None:
        """(n,) equal for adapters of one group or copies of each other."""
        if self.groups is None or self.copies is None:
            return self.copies if self.groups is None else self.groups
        return joined(self.groups, self.copies)

    def with_folds(self, one: Division) -> Division:
        """A split with the folds of what is learned from; where groups are left out of account, copies are whole alone."""
        together = self.copies if one.kind == "random" else self.together
        return replace(one, folds=inner_folds(one.split, self.question.zoo.required_labels, together, one.seed))

    def split(self, seed: int, start: int, stop: int, own: Tensor | None, *, random: bool = False) -> Split:
        zoo, rows = self.question.zoo, slice(start, stop)
        found = make_split(
            zoo.required_labels[rows],
            zoo.classes,
            own,
            "stratified" if random else self.method,
            seed,
            groups=None if random or self.groups is None else self.groups[rows],
            copies=None if self.copies is None else self.copies[rows],
        )
        train, validation, test = (part + start for part in (found.train, found.validation, found.test))
        return Split(train, validation, test, found.kind, found.resubstitution)


def _repeats(config: ExperimentConfig, parts: _Parts) -> Iterator[tuple[str, Division]]:
    question = parts.question
    own = question.zoo.split if question.transfer is None else question.transfer.splits[0]
    for number in range(config.splits):
        split = parts.split(config.seed + number, 0, question.own, own)
        _refuse(question, split)
        _refuse_single_group(question, split.test)
        yield f"split{number + 1}" if number else "", Division(split, config.seed + number)
    if config.group_column is not None and config.split in ("auto", "stratified"):
        split = parts.split(config.seed, 0, question.own, own, random=True)
        _refuse(question, split)
        yield RANDOM, Division(split, config.seed, "random")


def _transferred(
    config: ExperimentConfig, question: Question, parts: _Parts, first: Division
) -> Iterator[tuple[str, Division]]:
    """The test adapters of the other zoo, all where it cannot be divided, by what is learned in the first and, if so, there."""
    assert question.transfer is not None
    start, stop = question.own, len(question.zoo)
    there: Split | None
    try:
        there = parts.split(config.seed, start, stop, question.transfer.splits[1])
        _refuse(question, there)
        there = None if there.resubstitution else there
    except LoraPerfError:
        there = None
    test = torch.arange(start, stop) if there is None else there.test
    if parts.copies is not None:
        learned = torch.cat([first.split.train, first.split.validation])
        test = test[~torch.isin(parts.copies[test], parts.copies[learned])]
    split = Split(first.split.train, first.split.validation, test, "transfer")
    if len(test) < 2:
        raise LoraPerfError(
            expected=f"two adapters of {question.transfer.name} that are none of those learned from",
            found=f"{len(test)} of {stop - start:,}",
            fix="test on another data set",
        )
    _refuse_single_group(question, test)
    yield TRANSFER, Division(split, config.seed, "transfer")
    if there is not None:
        yield NATIVE, Division(Split(there.train, there.validation, test, there.kind), config.seed, "native")


def _refuse(question: Question, split: Split) -> None:
    """Refuses a split from which nothing could be learned."""
    values = question.target.values
    if question.target.task in ("classes", "retrieval"):
        refuse_unlearnable(question.zoo.required_labels, question.zoo.classes, split)
    elif len(split.test) < 2 or bool((values[split.train] == values[split.train[0]]).all()):
        raise LoraPerfError(
            expected=f"train adapters that differ in {question.target.name}, and two test adapters",
            found=f"{len(split.train):,} train and {len(split.test):,} test adapters",
            fix="use a larger zoo or another split",
        )


def _refuse_single_group(question: Question, test: Tensor) -> None:
    """Refuses test adapters that tell nothing of other groups than their own."""
    groups = question.groups
    if groups is not None and len(groups.of[test].unique()) < 2:
        raise LoraPerfError(
            expected=f"test adapters of at least two groups in {groups.name}",
            found=f"{counted(len(test), 'adapter')} of {groups.names[int(groups.of[test[0]])]}",
            fix="choose another column, or another --seed",
        )


def stands_in_both(question: Question, split: Split) -> int:
    """How many test adapters have another of their group among those that are learned from."""
    if question.groups is None or split.resubstitution:
        return 0
    learned = question.groups.of[torch.cat([split.train, split.validation])].unique()
    return int(torch.isin(question.groups.of[split.test], learned).sum())
