"""How well adapters are read, one number each, by what is learned: classes, numbers, several labels, or likeness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_perf.classifiers.metrics import Estimate, symmetric
from lora_perf.core.target import Task

Floats = NDArray[np.float64]

# What the mean over test adapters is called, by the task.
MEASURES = {
    "classes": "accuracy",
    "numbers": "R2",
    "several": "label ranking average precision",
    "retrieval": "mean average precision",
}
RECALLS = (1, 5, 10)
_PARTS = 20


def gains(task: Task, predictions: Any, truth: Any) -> NDArray[Any]:
    """(s, n) what each adapter adds to the score of a run, which is their mean.

    classes: whether it is named rightly; the mean is accuracy. numbers: 1 - (y - f)^2 / var(y), whose mean is R2. several:
    the average precision of its labels among all, by their scores (Tsoumakas, Katakis, Vlahavas 2010); 1 where it has none or
    all of them. retrieval: the average precision.

    Shapes: predictions (s, n), of several labels (s, n, l), of retrieval (s, n, 2): average precision and the place of the
        first of its class; truth (n,), of several labels (n, l).
    """
    found, true = np.asarray(predictions), np.asarray(truth)
    if task == "classes":
        return np.asarray(found == true)
    if task == "numbers":
        spread = float(np.var(true))
        return np.asarray(1 - np.square(found - true) / (spread or 1.0))
    if task == "several":
        return np.stack([_label_ranking(true > 0, run) for run in found])
    return np.asarray(found[..., 0], np.float64)


def _label_ranking(true: NDArray[np.bool_], scores: NDArray[Any]) -> Floats:
    """(n,) the mean, over the labels of an adapter, of the share of its own among those that score as high or higher."""
    above = scores[:, None, :] >= scores[:, :, None]  # [i, label, other]
    ranks = above.sum(axis=2)
    own = (above & true[:, None, :]).sum(axis=2)
    counts = true.sum(axis=1)
    sums = np.where(true, own / ranks, 0.0).sum(axis=1)
    trivial = (counts == 0) | (counts == true.shape[1])
    return np.asarray(np.where(trivial, 1.0, sums / np.maximum(1, counts)))


def further(task: Task, predictions: Any, truth: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Other measures of one run: of numbers Spearman's rank correlation and the mean absolute error, of several labels the mean
    over labels of average precision and of the area under the ROC curve, and that of each label that some test adapters have
    and others do not, of retrieval the share of adapters that have one of their class among the 1, 5 and 10 nearest.
    """
    found, true = np.asarray(predictions, np.float64), np.asarray(truth)
    if task == "numbers":
        from scipy.stats import spearmanr

        constant = np.ptp(found) == 0 or np.ptp(true) == 0
        rank = 0.0 if constant else float(spearmanr(true, found).statistic)
        return {"spearman": rank, "mae": float(np.abs(found - true).mean())}
    if task == "several":
        from sklearn.metrics import average_precision_score, roc_auc_score

        several = [k for k in range(len(names)) if 0 < true[:, k].sum() < len(true)]
        precisions = [float(average_precision_score(true[:, k], found[:, k])) for k in several]
        areas = {f"auc of {names[k]}": float(roc_auc_score(true[:, k], found[:, k])) for k in several}
        if not several:
            return {}
        return {"map": float(np.mean(precisions)), "auc": float(np.mean([*areas.values()])), **areas}
    if task == "retrieval":
        return {f"recall at {k}": float((found[:, 1] <= k).mean()) for k in RECALLS}
    return {}


def jackknifed(
    task: Task, runs: Any, truth: Any, names: tuple[str, ...], clusters: Any = None, draws: int = 1
) -> dict[str, Estimate]:
    """The further measures with 95 % intervals over test adapters and runs.

    The variance over adapters is that of leaving out a twentieth of them, or of their clusters, at a time (the delete-a-group
    jackknife, Kott 2001), to which that of the mean over runs is added, which is a little too much rather than too little. Of
    several draws of a representation, one after the other, the means are the sample in place of runs.
    """
    found, true = np.asarray(runs), np.asarray(truth)
    of = np.arange(len(true)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    count = int(of.max()) + 1
    parts = min(_PARTS, count)
    part = (np.random.default_rng(0).permutation(count) % parts)[of]

    def values(kept: NDArray[np.bool_]) -> NDArray[Any]:
        told = [further(task, run[kept], true[kept], names) for run in found]
        return np.array([[one.get(name, np.nan) for name in shown] for one in told])

    shown = [name for name in further(task, found[0], true, names) if not name.startswith("auc of ")]
    if not shown or parts < 2:
        return {}
    whole = values(np.ones(len(true), np.bool_))
    without = np.array([values(part != k).mean(axis=0) for k in range(parts)])
    squares = (parts - 1) / parts * np.square(without - without.mean(axis=0)).sum(axis=0)
    rows = whole if draws == 1 else whole.reshape(draws, -1, len(shown)).mean(axis=1)
    if len(rows) > 1:
        squares += rows.var(axis=0, ddof=1) / len(rows)
    mean = whole.mean(axis=0)
    return {
        name: symmetric(float(value), float(np.sqrt(square)), parts - 1.0)
        for name, value, square in zip(shown, mean, squares, strict=True)
        if np.isfinite(square)
    }


def trivial(task: Task, learned: Any, truth: Any) -> tuple[float, dict[str, float]]:
    """The score, and the further measures, of knowing nothing of an adapter: the commonest class, the mean number, the labels
    by how common they are, or any order.

    Shapes: learned, the values of the train adapters, as truth those of the test adapters.
    """
    known, true = np.asarray(learned), np.asarray(truth)
    if task == "classes":
        return float(np.bincount(true).max() / len(true)), {}
    if task == "numbers":
        guess = np.full((1, len(true)), known.mean())
        return float(gains(task, guess, true).mean()), {"mae": float(np.abs(guess - true).mean())}
    if task == "several":
        guess = np.broadcast_to(known.mean(axis=0), (1, *true.shape))
        return float(gains(task, guess, true).mean()), further(task, guess[0], true, tuple(map(str, range(true.shape[1]))))
    everyone = np.concatenate([known, true])
    alike = np.bincount(everyone)[true] - 1
    n = len(everyone) - 1
    harmonic = float(np.sum(1 / np.arange(1, n + 1)))
    expected = (harmonic + (alike - 1) / max(1, n - 1) * (n - harmonic)) / n
    return float(expected[alike > 0].mean()) if (alike > 0).any() else 0.0, {}
