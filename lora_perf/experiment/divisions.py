"""What an experiment learns of which adapters: target, groups, and the splits that it is trained and tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.grouping import Grouping
from lora_perf.core.split import Split, make_split, refuse_unlearnable
from lora_perf.core.target import Target, column_of, known_rows, labels_of, refuse_missing, target_of
from lora_perf.core.zoo import Zoo
from lora_perf.experiment.config import ExperimentConfig
from lora_perf.report.wording import RANDOM


@dataclass(frozen=True, eq=False)
class Division:
    """A split, with the seed that it and what is fitted on it come from."""

    split: Split
    seed: int


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of a zoo.

    Attributes:
        zoo: the adapters, labelled by the target or by the strata of its numbers.
        target: what is learned.
        groups: adapters that belong together, where a column says so.
    """

    zoo: Zoo
    target: Target
    groups: Grouping | None

    def clusters(self, rows: Tensor) -> Tensor | None:
        """The group of each of some adapters."""
        return None if self.groups is None else self.groups.of[rows]


def question_of(config: ExperimentConfig, zoo: Zoo) -> Question:
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
    return Question(zoo, target, groups)


def division_names(config: ExperimentConfig) -> tuple[str, ...]:
    """The names of the splits of an experiment, the first one \"\"."""
    names = ("", *(f"split{number}" for number in range(2, config.splits + 1)))
    return (*names, RANDOM) if config.group_column is not None and config.split in ("auto", "stratified") else names


def divisions_of(config: ExperimentConfig, question: Question, copies: Tensor | None = None) -> dict[str, Division]:
    """The splits of an experiment by their names.

    Args:
        copies: (n,) equal for adapters that are copies of each other, which stay on one side wherever rows are chosen.

    Raises:
        LoraPerfError: data that cannot be divided so.
    """
    return dict(_divisions(config, question, copies))


def _divisions(config: ExperimentConfig, question: Question, copies: Tensor | None) -> Iterator[tuple[str, Division]]:
    zoo = question.zoo
    labels, classes = zoo.required_labels, zoo.classes
    method = "stratified" if config.splits > 1 and config.split == "auto" else config.split
    for number, name in enumerate(division_names(config)):
        random = name == RANDOM
        seed = config.seed + (0 if random else number)
        groups = None if random or question.groups is None else question.groups.of
        split = make_split(labels, classes, zoo.split, "stratified" if random else method, seed, groups=groups, copies=copies)
        if question.target.task in ("classes", "retrieval"):
            refuse_unlearnable(labels, classes, split)
        elif len(split.test) < 2 or bool((question.target.values[split.train] == question.target.values[split.train[0]]).all()):
            raise LoraPerfError(
                expected=f"train adapters that differ in {question.target.name}, and two test adapters",
                found=f"{len(split.train):,} train and {len(split.test):,} test adapters",
                fix="use a larger zoo or another split",
            )
        if question.groups is not None and not random and len(question.groups.of[split.test].unique()) < 2:
            raise LoraPerfError(
                expected=f"test adapters of at least two groups in {question.groups.name}",
                found="one",
                fix="choose another column, or another --seed",
            )
        yield name, Division(split, seed)


def stands_in_both(question: Question, split: Split) -> int:
    """How many test adapters have another of their group among those that are learned from."""
    if question.groups is None or split.resubstitution:
        return 0
    learned = question.groups.of[torch.cat([split.train, split.validation])].unique()
    return int(torch.isin(question.groups.of[split.test], learned).sum())
