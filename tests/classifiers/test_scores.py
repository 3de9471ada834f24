"""Scores of numbers, several labels and retrieval are those of scikit-learn; what each adapter adds sums to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, fitted
from lora_perf.classifiers.perceptron.epochs import _towards, losses_of
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.classifiers.protocol import refuse_task
from lora_perf.classifiers.scores import further, gains, jackknifed, trivial
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.split import Split, make_split
from lora_perf.core.target import Target

RECIPE = TrainingConfig(hidden=32, epochs=60, patience=60, dropout=0.0)


def split_of(n: int) -> Split:
    order = torch.from_numpy(np.random.default_rng(0).permutation(n))
    return Split(order[: n // 2], order[n // 2 : 3 * n // 4], order[3 * n // 4 :], "stratified")


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40))
def test_numbers_score_as_scikit_learn_says(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = rng.normal(size=n), rng.normal(size=(3, n))
    found = gains("numbers", said, truth).mean(axis=1)
    np.testing.assert_allclose(found, [metrics.r2_score(truth, run) for run in said])
    more = further("numbers", said[0], truth, ())
    assert more["mae"] == pytest.approx(metrics.mean_absolute_error(truth, said[0]))
    assert more["spearman"] == pytest.approx(spearmanr(truth, said[0]).statistic)
    assert further("numbers", np.ones(n), truth, ())["spearman"] == 0


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(1, 6))
def test_several_labels_score_as_scikit_learn_says(seed: int, n: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, labels)) < 0.4).astype(float)
    said = rng.integers(0, 4, (2, n, labels)) / 4.0  # with ties
    for run, found in zip(said, gains("several", said, truth).mean(axis=1), strict=True):
        assert found == pytest.approx(metrics.label_ranking_average_precision_score(truth, run))
    several = [k for k in range(labels) if 0 < truth[:, k].sum() < n]
    more = further("several", said[0], truth, tuple(map(str, range(labels))))
    if several:
        assert more["map"] == pytest.approx(
            np.mean([metrics.average_precision_score(truth[:, k], said[0, :, k]) for k in several])
        )
        assert more[f"auc of {several[0]}"] == pytest.approx(
            metrics.roc_auc_score(truth[:, several[0]], said[0, :, several[0]])
        )
    else:
        assert more == {}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 40), st.integers(2, 5))
def test_retrieval_is_the_average_precision_of_each_query(seed: int, n: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, labels = torch.randn((n, 6), generator=generator), torch.arange(n) % classes
    split = split_of(n)
    learnt = CLASSIFIERS["retrieval"].fit(Examples(values, split), labels, classes, Setup(task="retrieval"))
    train = values[split.train].double()
    unit = (values.double() - train.mean(0)) / train.std(0, correction=0)
    unit /= unit.norm(dim=1, keepdim=True)
    first = []
    for row, found in zip(split.test.tolist(), learnt.predictions[0, :, 0].tolist(), strict=True):
        others = [k for k in range(n) if k != row]
        likeness, alike = (unit[others] @ unit[row]).numpy(), (labels[others] == labels[row]).numpy()
        expected = metrics.average_precision_score(alike, likeness) if alike.any() else 0.0
        assert found == pytest.approx(expected, abs=1e-6)
        first.append(alike[np.argsort(-likeness)[:5]].any())
    more = further("retrieval", learnt.predictions[0], labels[split.test], ())
    assert more["recall at 5"] == pytest.approx(np.mean(first))


def test_the_trivial_score_is_that_of_knowing_nothing() -> None:
    rng = np.random.default_rng(1)
    numbers = rng.normal(3, 2, 200)
    score, more = trivial("numbers", numbers[:150], numbers[150:])
    assert score == pytest.approx(metrics.r2_score(numbers[150:], np.full(50, numbers[:150].mean())))
    assert more["mae"] == pytest.approx(np.abs(numbers[150:] - numbers[:150].mean()).mean())
    labels = (rng.random((200, 3)) < [0.2, 0.5, 0.7]).astype(float)
    score, more = trivial("several", labels[:150], labels[150:])
    expected = np.broadcast_to(labels[:150].mean(axis=0), (50, 3))
    assert score == pytest.approx(metrics.label_ranking_average_precision_score(labels[150:], expected))
    assert more["auc"] == 0.5
    assert trivial("classes", np.arange(4), np.array([0, 0, 1]))[0] == pytest.approx(2 / 3)


def test_any_order_retrieves_what_the_baseline_says() -> None:
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 4, 60)
    expected = trivial("retrieval", classes[:40], classes[40:])[0]
    drawn = []
    for _ in range(300):
        for query in range(40, 60):
            others = np.delete(classes, query)
            drawn.append(metrics.average_precision_score(others == classes[query], rng.random(59)))
    assert np.mean(drawn) == pytest.approx(expected, abs=4 * np.std(drawn) / np.sqrt(len(drawn)))


@pytest.mark.parametrize("goal", ["numbers", "several"])
def test_the_written_gradient_is_that_of_the_loss(goal: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 5, 3), generator=generator, dtype=torch.float64, requires_grad=True)
    target = (torch.rand((2, 5, 3), generator=generator) < 0.5).double()
    loss = losses_of(goal, logits, target).sum()  # type: ignore[arg-type]
    (expected,) = torch.autograd.grad(loss, logits)
    sums = torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(_towards(goal, logits.detach(), target, sums), expected)  # type: ignore[arg-type]
    torch.testing.assert_close(sums.sum(), loss.detach())


@pytest.mark.parametrize("name", ["mlp", "ridge", "knn"])
@pytest.mark.parametrize("task", ["numbers", "several"])
def test_what_is_there_is_learned_and_further_rows_are_answered_alike(name: str, task: str) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn((400, 8), generator=generator)
    signal = values[:, :2].double().sum(dim=1) * 30 + 200
    labels = signal if task == "numbers" else torch.stack([values[:, 0] > 0, values[:, 1] > 0.5], dim=1).float()
    split = split_of(400)
    setup = Setup((1, 2), RECIPE, task=task)  # type: ignore[arg-type]
    learnt = fitted(CLASSIFIERS[name], Examples(values, split), labels, 2, setup)
    truth = labels[split.test].numpy()
    score = float(gains(task, learnt.predictions.numpy(), truth).mean())  # type: ignore[arg-type]
    assert score > {"mlp": 0.9, "ridge": 0.9, "knn": 0.6}[name]
    torch.testing.assert_close(learnt.predict(values[split.test]), learnt.predictions, rtol=1e-4, atol=1e-3)
    nothing = fitted(CLASSIFIERS[name], Examples(values, split), labels[torch.randperm(400, generator=generator)], 2, setup)
    assert float(gains(task, nothing.predictions.numpy(), truth).mean()) < score - 0.03  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["numbers", "several", "retrieval"])
def test_constant_features_know_what_the_train_rows_have_in_common(task: str) -> None:
    labels = {"numbers": torch.arange(40.0), "several": (torch.arange(80).view(40, 2) % 3 > 0).float()}.get(
        task, torch.arange(40) % 2
    )
    name = "retrieval" if task == "retrieval" else "mlp"
    split = split_of(40)
    learnt = fitted(CLASSIFIERS[name], Examples(torch.ones(40, 3), split), labels, 2, Setup((1,), RECIPE, task=task))  # type: ignore[arg-type]
    assert learnt.note == "no information: constant"
    if task != "retrieval":
        torch.testing.assert_close(learnt.predictions[0, 0], labels[split.train].double().mean(dim=0))


def test_a_classifier_that_cannot_learn_it_is_refused_with_those_that_can() -> None:
    target = Target("images", "numbers", torch.arange(4.0))
    with pytest.raises(
        LoraPerfError, match=r"a classifier for numbers, as images are taken; found logistic.*use --classifiers mlp ridge knn"
    ):
        refuse_task(CLASSIFIERS["logistic"], target)
    refuse_task(CLASSIFIERS["ridge"], target)


def test_users_estimators_of_numbers_are_checked() -> None:
    labels = torch.arange(40) % 2
    split = make_split(labels, "ab")
    found = CLASSIFIERS["ridge"].fit(Examples(torch.randn(40, 3), split), labels.double() + 0.5, 1, Setup(task="numbers"))
    assert found.predictions.dtype == torch.float64


def test_intervals_of_further_measures_cover_the_truth() -> None:
    """Spearman's rho of two normal numbers of correlation .6 on 120 adapters: 6 / pi asin(.3) = .582."""
    rng, truth = np.random.default_rng(5), 6 / np.pi * np.arcsin(0.3)
    hits = 0
    for _ in range(200):
        x, noise = rng.normal(size=(2, 120))
        found = jackknifed("numbers", [0.6 * x + 0.8 * noise], x, ())
        hits += found["spearman"].low <= truth <= found["spearman"].high
    assert 180 <= hits <= 199


def test_clusters_widen_the_intervals_of_further_measures() -> None:
    rng = np.random.default_rng(6)
    of = np.arange(200) // 10
    truth = rng.normal(size=20)[of] + 0.1 * rng.normal(size=200)
    said = [truth + 2 * rng.normal(size=20)[of] for _ in range(2)]
    alone, grouped = (jackknifed("numbers", said, truth, (), clusters)["mae"] for clusters in (None, of))
    assert grouped.se > 1.5 * alone.se
    assert grouped.mean == pytest.approx(alone.mean) == pytest.approx(np.mean([np.abs(one - truth).mean() for one in said]))
