"""What every classifier is, which learns classes from examples and answers for any rows of the same width; their registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from lora_perf.classifiers.coordinates import Coordinates, coordinates
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.classifiers.perceptron.training import Progress
from lora_perf.classifiers.standardise import ConstantFeaturesError
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.factors import Factors
from lora_perf.core.registry import Registry
from lora_perf.core.split import Split
from lora_perf.core.stored import StoredValues
from lora_perf.core.target import Target, Task

Setting = dict[str, float | int | str]
NO_INFORMATION = "no information: constant"
_SHARED_NBYTES = 1 << 30  # of the coordinates of all folds


@dataclass(frozen=True, eq=False)
class Examples:
    """The features that all classifiers of a cell read, and which rows are for what.

    Shapes: values (n, f), on the device where they were computed, or where they stay (`StoredValues`); layers (f,), a number
        for each layer or module that a column came from, where it is known; factors, which columns hold those of updates.
    Attributes:
        folds: the rows of each fold of the train and validation rows, by which probes choose their setting, to be fitted to all
            of these then; none: they choose on the validation rows and are fitted to the train rows.
    """

    values: Tensor | StoredValues
    split: Split
    layers: Tensor | None = None
    factors: tuple[Factors, ...] = ()
    folds: tuple[Tensor, ...] = ()

    @cached_property
    def fitted_split(self) -> Split:
        """The split whose train rows probes are fitted to; with folds those of validation are among them."""
        if not self.folds:
            return self.split
        return Split(torch.cat(self.folds).sort().values, self.folds[0][:0], self.split.test, self.split.kind)

    @cached_property
    def coordinates(self) -> Coordinates:
        """The standardised features in float64, made at the first call and shared by all who ask: see `coordinates`."""
        return coordinates(self.values, self.fitted_split)

    def folded(self) -> Iterator[tuple[Split, Coordinates]]:
        """For each fold the other rows as train rows, itself as validation rows, and the features as these alone standardise
        them; shared by all who ask where they are small. A fold whose other rows are all alike tells nothing and is left out.
        """
        for place, held in enumerate(self.folds):
            if place not in self._folded:
                rest = torch.cat([one for other, one in enumerate(self.folds) if other != place]).sort().values
                split = Split(rest, held, held[:0], self.split.kind)
                try:
                    made = split, coordinates(self.values, split)
                except ConstantFeaturesError:
                    continue
                if len(self.folds) * made[1].train.nbytes > _SHARED_NBYTES:
                    yield made
                    continue
                self._folded[place] = made
            yield self._folded[place]

    @cached_property
    def _folded(self) -> dict[int, tuple[Split, Coordinates]]:
        return {}


@dataclass(frozen=True, eq=False)
class Setup:
    """How to learn.

    Attributes:
        seeds: one run each; a classifier without seeds has a single run.
        recipe: of classifiers that learn in epochs.
        device: where these learn.
        progress: called with seed, epoch and validation accuracy after each epoch, by one thread at a time.
        task: what the labels are: classes (n,), numbers (n,), or 0 and 1 of several labels (n, l).
        keep: whether what was learnt stays, so that `Fitted.predict` answers: of a perceptron of wide features some GB.
    """

    seeds: Sequence[int] = (42,)
    recipe: TrainingConfig = field(default_factory=TrainingConfig)
    device: torch.device | str = "cpu"
    progress: Progress | None = None
    keep: bool = True
    task: Task = "classes"


USUAL = Setup()


@dataclass(frozen=True)
class Run:
    """One run: what it came to on the validation rows, and how.

    Attributes:
        seed: None of a classifier without seeds.
        best_epoch, epochs: counted from one; 0 of a classifier without epochs.
        curves: a value an epoch.
        setting: what was chosen on the validation rows, or by folds, whose rows are then those of `validation_accuracy`.
    """

    seed: int | None
    validation_accuracy: float
    best_epoch: int = 0
    epochs: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=dict)
    setting: Setting = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a classifier learnt.

    Attributes:
        predictions: (s, n_test) int64, in the order of the split's test rows; numbers float64; scores (s, n_test, l) of several
            labels; of retrieval (s, n_test, 2) the average precision and the place of the first of its class.
        runs: s of them.
        features: f, how many there were.
        dropped: the columns that were constant on the train rows.
        answers: rows (m, f) -> classes (s, m); None where nothing was kept.
        note: what is special about it.
    """

    predictions: Tensor
    runs: tuple[Run, ...]
    features: int
    dropped: Tensor
    answers: Callable[[Tensor], Tensor] | None = None
    note: str = ""

    def predict(self, values: Tensor) -> Tensor:
        """The classes (s, m) of rows (m, f), features of the same names as those that were learnt from.

            >>> import torch
            >>> from lora_perf.classifiers import CLASSIFIERS, Examples
            >>> from lora_perf.core.split import make_split
            >>> labels = torch.arange(60) % 2
            >>> values = labels[:, None] + torch.linspace(0, 0.5, 60)[:, None]
            >>> examples = Examples(values, make_split(labels, ["a", "b"]))
            >>> CLASSIFIERS["ridge"].fit(examples, labels, 2).predict(torch.tensor([[0.2], [1.3]])).tolist()
            [[0, 1]]

        Raises:
            LoraPerfError: nothing was kept, rows of another width.
        """
        if self.answers is None:
            raise LoraPerfError(
                expected="a classifier that kept what it learnt",
                found="one fitted with keep=False",
                fix="fit it with keep=True",
            )
        if values.ndim != 2 or values.shape[1] != self.features:
            raise LoraPerfError(
                expected=f"rows of {self.features:,} features, as were learnt from",
                found=f"shape {tuple(values.shape)}",
                fix="give a matrix of the same features",
            )
        return self.answers(values) if len(values) else self.predictions[:, :0]


class Classifier(Protocol):
    """Learns classes from features.

    Attributes:
        about: what it is, for the help of a command.
        seeded: whether there is one run a seed, or a single run.
        by_epochs: whether it learns in epochs by `Setup.recipe`: its numbers depend on that, its time on their count.
        targets: what it can learn.
        version: a hash of the source of a user's classifier as it is now, "" of those of the package.
    """

    @property
    def name(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def seeded(self) -> bool: ...
    @property
    def by_epochs(self) -> bool: ...
    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> str: ...

    def refuse(self, n_train: int, features: int) -> None:
        """Raises LoraPerfError where it cannot learn from so many rows and features; nothing is read for it."""

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """Learns from the train rows and chooses on the validation rows; the test rows are answered at once.

        Shapes: labels (n,), of which those of the test rows are never looked at.
        Raises:
            LoraPerfError: features that cannot be learnt from.
            ConstantFeaturesError: all are constant on the train rows.
        """
        ...


# Those of the package and those of users: `CLASSIFIERS["mlp"]`, `list(CLASSIFIERS)`.
CLASSIFIERS: Registry[Classifier] = Registry("classifier")
DEFAULT = "mlp"  # the perceptron: what the original study trained


def refuse_task(classifier: Classifier, target: Target) -> None:
    """Raises LoraPerfError where a classifier cannot learn what is asked."""
    if target.task not in classifier.targets:
        able = [name for name in CLASSIFIERS if target.task in CLASSIFIERS[name].targets]
        words = {"several": "several labels"}
        raise LoraPerfError(
            expected=f"a classifier for {words.get(target.task, target.task)}, as {target.name or 'the labels'} are taken",
            found=f"{classifier.name}, for {listed(words.get(one, one) for one in classifier.targets)}",
            fix=f"use --classifiers {' '.join(able)}, or another --task",
        )


def seeds_of(classifier: Classifier, seeds: Sequence[int]) -> list[int | None]:
    """The seeds of the runs that a classifier has when it is given some."""
    return list(seeds) if classifier.seeded else [None]


def fitted(classifier: Classifier, examples: Examples, labels: Tensor, n_classes: int, setup: Setup) -> Fitted:
    """What a classifier learns; where all features are constant, to name the commonest class of the train rows."""
    try:
        return classifier.fit(examples, labels, n_classes, setup)
    except ConstantFeaturesError:
        split = examples.split
        seeds = seeds_of(classifier, setup.seeds)
        if setup.task == "retrieval":
            shares = torch.stack([(labels == label).double().mean() for label in labels[split.test]])
            alike = torch.stack([shares, torch.full_like(shares, len(labels))], dim=1)
            none = (Run(None, 0.0),)
            return Fitted(
                alike[None], none, examples.values.shape[1], torch.arange(examples.values.shape[1]), None, NO_INFORMATION
            )
        known = labels[split.train]
        commonest = known.bincount().argmax() if setup.task == "classes" else known.double().mean(dim=0)
        right = float((labels[split.validation] == commonest).double().mean()) if setup.task == "classes" else 0.0
        return Fitted(
            commonest.expand(len(seeds), len(split.test), *commonest.shape),
            tuple(Run(seed, right) for seed in seeds),
            examples.values.shape[1],
            torch.arange(examples.values.shape[1]),
            lambda values: commonest.expand(len(seeds), len(values), *commonest.shape),
            NO_INFORMATION,
        )
