"""Single modules and choices of them: the names of their cells, how they rank, and what is left with few of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.classifiers.metrics import Answers, Estimate, PairedDifference, accuracy_of, difference_of
from lora_perf.core.tables import Table
from lora_perf.core.text import counted
from lora_perf.report.wording import with_interval, with_sign

if TYPE_CHECKING:
    from lora_perf.report.results import Results

MODULE, BEST, WITHOUT, DRAWN = "module ", "best ", "without ", "drawn "  # no name of a layer group has a space
_STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def is_part(group: str) -> bool:
    """Whether a cell is of single modules or a choice of them, not of a layer group that was asked for."""
    return group.startswith((MODULE, BEST, WITHOUT, DRAWN))


def counts_of(modules: int) -> list[int]:
    """How many of some modules are kept or removed, on the way to all.

    >>> counts_of(12)
    [1, 2, 3, 4, 6, 8]
    """
    return [count for count in _STEPS if count < modules]


@dataclass(frozen=True)
class ModuleScore:
    """A module by itself.

    Attributes:
        name: of the module.
        crossed: score of train and validation adapters, each by what others of these teach (five folds): what it is ranked by.
        tested: score of the test adapters, which has no say in the rank.
    """

    name: str
    crossed: Estimate
    tested: Estimate | None


@dataclass(frozen=True)
class Kept:
    """So many of the modules.

    Attributes:
        count: how many.
        best: test score of the best by their rank.
        drawn: of as many whichever they are, over several draws, seeds and adapters.
        without: of all but the best.
        loss: what is lost to all of them, of the best.
    """

    count: int
    best: Estimate
    drawn: Estimate
    without: Estimate
    loss: PairedDifference


@dataclass(frozen=True)
class Layers:
    """What single modules tell, read in one way from one representation.

    Attributes:
        modules: the best first, by their cross-fitted score.
        kept: by their number.
        whole: test score of all modules.
        agreement: Spearman's correlation of the rank with test scores; None where these are all alike.
        enough: the fewest of the best that are not told from all of them (95 % interval of the loss holds 0), if any are.
    """

    representation: str
    classifier: str
    modules: Sequence[ModuleScore]
    kept: Sequence[Kept]
    whole: Estimate

    @property
    def agreement(self) -> float | None:
        from scipy.stats import spearmanr

        pairs = [(one.crossed.mean, one.tested.mean) for one in self.modules if one.tested is not None]
        first, second = zip(*pairs, strict=True)
        if len(set(first)) < 2 or len(set(second)) < 2:
            return None
        return float(spearmanr(first, second).statistic)

    @property
    def enough(self) -> int | None:
        return next((one.count for one in self.kept if one.loss.low <= 0), None)


def ranking(results: Results, representation: str, classifier: str) -> list[ModuleScore]:
    """The modules by their cross-fitted scores, the best first; among equals the first in the layout."""
    folds = results.divisions("fold")
    scores = []
    for group in results.modules:
        answers = results.answers(representation, group, classifier, divisions=folds)
        if len(answers) == len(folds) > 0:
            together = [answer.clusters for answer in answers]
            of = None if together[0] is None else np.concatenate([one for one in together if one is not None])
            crossed = Answers(np.concatenate([one.right for one in answers], axis=1), of, answers[0].learned)
            of_test = results.accuracy(representation, group, classifier)
            scores.append(ModuleScore(group.removeprefix(MODULE), accuracy_of([crossed]), of_test))
    return sorted(scores, key=lambda one: -one.crossed.mean)


def layers_of(results: Results) -> list[Layers]:
    """What single modules tell, for each representation and classifier whose modules were looked at one by one."""
    found = []
    for classifier in results.classifiers:
        for name in results.representations:
            modules = ranking(results, name, classifier)
            whole = results.accuracy(name, results.groups[0], classifier)
            if modules and whole is not None:
                found.append(Layers(name, classifier, modules, _kept(results, name, classifier, len(modules)), whole))
    return found


def _kept(results: Results, name: str, classifier: str, modules: int) -> list[Kept]:
    whole = results.answers(name, results.groups[0], classifier, divisions=[""])
    found = []
    for count in counts_of(modules):
        best, without = (results.answers(name, f"{kind}{count}", classifier, divisions=[""]) for kind in (BEST, WITHOUT))
        groups = [one for one in results.parts if one.startswith(f"{DRAWN}{count}.")]
        drawn = [one for group in groups for one in results.answers(name, group, classifier, divisions=[""])]
        if best and without and drawn:
            together = drawn_answers(drawn)
            loss = difference_of(whole, best)
            found.append(Kept(count, accuracy_of(best), accuracy_of([together]), accuracy_of(without), loss))
    return found


def drawn_answers(draws: Sequence[Answers]) -> Answers:
    """Several draws on the same test adapters as runs: each is the mean of its own, so that intervals hold for other draws."""
    right = np.stack([np.asarray(one.right, np.float64).mean(axis=0) for one in draws])
    return Answers(right, draws[0].clusters, draws[0].learned)


def module_table(one: Layers) -> Table:
    """Modules by rank, with their cross-fitted scores and those on the test adapters."""
    rows = [
        (str(place), module.name, *_told(module.crossed), *(_told(module.tested) if module.tested else ("", "")))
        for place, module in enumerate(one.modules, start=1)
    ]
    title = f"Modules by {one.representation}, read by {one.classifier}: ranked without the test adapters"
    columns = ("rank", "module", "cross-fitted", "95 % interval", "test", "95 % interval of test")
    return Table(title, columns, rows, ("rank", *columns[2:]))


def kept_table(one: Layers) -> Table:
    """Scores with so many modules kept, or removed."""
    rows = [
        (
            str(kept.count),
            with_interval(kept.best),
            with_interval(kept.drawn),
            with_interval(kept.without),
            with_sign(kept.loss),
        )
        for kept in one.kept
    ]
    rows.append((f"all {len(one.modules)}", with_interval(one.whole), "", "", ""))
    columns = ("modules", "the best", "drawn at random", "all but the best", "loss with the best")
    return Table(f"{one.representation}, read by {one.classifier}: so many modules", columns, rows, columns)


def layers_note(results: Results, one: Layers) -> str:
    """What the modules tell, in one sentence or two."""
    first = one.modules[0]
    agreement = "" if one.agreement is None else f"; rank and test score agree by {one.agreement:.2f} (Spearman)"
    told = (
        f"{one.representation}, read by {one.classifier}: {first.name} tells most by itself, {results.measure} "
        f"{first.crossed.mean:.3f} cross-fitted"
        + (f" and {first.tested.mean:.3f} on the test adapters" if first.tested else "")
        + f", of {one.whole.mean:.3f} with all {counted(len(one.modules), 'module')}{agreement}."
    )
    if one.enough is not None:
        told += f" The best {one.enough} cannot be told from all of them."
    return told


def _told(one: Estimate) -> tuple[str, str]:
    return f"{one.mean:.3f}", f"{one.low:.3f} to {one.high:.3f}"
