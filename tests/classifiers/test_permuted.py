"""Permutations of the labels: each scores what the probe scores that learns it alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup
from lora_perf.classifiers.permuted import READERS, permuted
from lora_perf.classifiers.scores import gains
from lora_perf.core.split import make_split
from lora_perf.core.target import Task

N, COUNT = 60, 12


def alone(name: str, examples: Examples, labels: torch.Tensor, outputs: int, task: Task, seed: int) -> list[float]:
    """The scores of probes that learn each permutation by themselves, as an experiment has them learn."""
    split = examples.split
    rows = torch.cat([split.train, split.validation, split.test]).unique()
    rng, scores = np.random.default_rng(seed), []
    for _ in range(COUNT):
        shuffled = labels.clone()
        shuffled[rows] = labels[rows[torch.from_numpy(rng.permutation(len(rows)))]]
        learnt = CLASSIFIERS[name].fit(examples, shuffled, outputs, Setup(task=task))
        scores.append(float(gains(task, learnt.predictions.numpy(), shuffled[split.test].numpy()).mean()))
    return scores


@pytest.mark.parametrize("name", list(READERS))
@given(seed=st.integers(0, 99), width=st.sampled_from([3, 90]), classes=st.integers(2, 4))
@settings(max_examples=5)
def test_classes(name: str, seed: int, width: int, classes: int) -> None:
    labels = torch.arange(N) % classes
    values = torch.randn((N, width), generator=torch.Generator().manual_seed(seed)) + 0.2 * labels[:, None]
    examples = Examples(values, make_split(labels, [str(c) for c in range(classes)], seed=seed))
    wanted = alone(name, examples, labels, classes, "classes", seed)
    found = permuted(name, examples, labels, classes, "classes", 0.5, COUNT, seed)
    answers = COUNT * len(examples.split.test)
    assert abs(found.mean - np.mean(wanted)) <= 2 / answers  # an answer or two that a rounding turns
    assert found.p == pytest.approx((1 + sum(one >= 0.5 - 1e-9 for one in wanted)) / (COUNT + 1), abs=2 / COUNT)


@pytest.mark.parametrize("name", [name for name in READERS if "numbers" in CLASSIFIERS[name].targets])
@pytest.mark.parametrize("task", ["numbers", "several"])
def test_numbers_and_labels(name: str, task: Task) -> None:
    generator = torch.Generator().manual_seed(1)
    strata = torch.arange(N) % 3
    values = torch.randn((N, 5), generator=generator)
    labels = values[:, 0].double() + torch.rand(N, generator=generator) if task == "numbers" else (values[:, :2] > 0).float()
    examples = Examples(values, make_split(strata, ["a", "b", "c"]))
    wanted = alone(name, examples, labels, 2, task, 3)
    found = permuted(name, examples, labels, 2, task, 0.9, COUNT, 3)
    assert found.mean == pytest.approx(np.mean(wanted), abs=1e-6)


def test_labels_that_mean_something_are_rare_among_those_that_do_not() -> None:
    labels = torch.arange(N) % 2
    values = labels[:, None] + 0.1 * torch.randn((N, 2), generator=torch.Generator().manual_seed(0))
    examples = Examples(values, make_split(labels, ["a", "b"]))
    assert permuted("ridge", examples, labels, 2, "classes", 1.0, 99, 0).p == 0.01


@pytest.mark.parametrize("classes", [2, 3])
def test_permutations_of_logistic_regression_are_scikit_learns_fits_one_by_one(classes: int) -> None:
    labels = torch.arange(N) % classes
    values = torch.randn((N, 6), generator=torch.Generator().manual_seed(4)) + 0.3 * labels[:, None]
    split = make_split(labels, [str(c) for c in range(classes)])
    x, y = values.double().numpy(), labels.numpy()
    x = (x - x[split.train].mean(axis=0)) / x[split.train].std(axis=0) / len(split.train) ** 0.5
    rng, scores = np.random.default_rng(7), []
    for _ in range(COUNT):
        shuffled = y[rng.permutation(N)]
        fits = [
            LogisticRegression(C=c, solver="lbfgs", tol=1e-10, max_iter=9999).fit(x[split.train], shuffled[split.train])
            for c in (0.1, 1, 10, 100, 1000)
        ]
        reached = [[one.score(x[rows], shuffled[rows]) for one in fits] for rows in (split.validation, split.test)]
        scores.append(reached[1][int(np.argmax(reached[0]))])
    found = permuted("logistic", Examples(values, split), labels, classes, "classes", 0.5, COUNT, 7)
    assert found.mean == pytest.approx(np.mean(scores), abs=1.5 / (COUNT * len(split.test)))
    assert found.p == pytest.approx((1 + sum(one >= 0.5 - 1e-9 for one in scores)) / (COUNT + 1), abs=1.5 / (COUNT + 1))


def test_permutations_that_leave_a_single_class_to_learn_name_it() -> None:
    labels = torch.tensor([0] * 58 + [1] * 2)  # of 42 train rows a permutation has both, one or none of the two
    values = torch.randn((N, 3), generator=torch.Generator().manual_seed(0))
    found = permuted("logistic", Examples(values, make_split(labels, ["a", "b"])), labels, 2, "classes", 1.0, 40, 0)
    assert 0.8 < found.mean <= 1


@pytest.mark.long
def test_of_labels_that_mean_nothing_p_is_below_a_level_that_often() -> None:
    rng, ps = np.random.default_rng(0), []
    for seed in range(400):
        labels = torch.from_numpy(rng.permutation(np.arange(N) % 3))
        values = torch.from_numpy(rng.normal(size=(N, 4))).float()
        examples = Examples(values, make_split(labels, ["a", "b", "c"], seed=seed))
        learnt = CLASSIFIERS["ridge"].fit(examples, labels, 3)
        score = float((learnt.predictions[0] == labels[examples.split.test]).double().mean())
        ps.append(permuted("ridge", examples, labels, 3, "classes", score, 99, seed).p)
    for level in (0.05, 0.2):
        assert np.mean(np.array(ps) <= level) < level + 3 * (level * (1 - level) / len(ps)) ** 0.5
