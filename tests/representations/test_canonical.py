"""The canonical form of updates: its components by a float64 decomposition, its signs by the train rows alone."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from numpy.typing import NDArray

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo
from lora_perf.representations.updates import canonical
from tests.conftest import MakeZoo
from tests.oracles_dw import singular_values, update, words
from tests.representations.updates import NAMES, Factors, zoo_of

TRAIN = np.array([0, 2, 3, 5, 6, 8])


def expected(adapters: list[Factors], train: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, c (m + k)) of one module: all vectors by a decomposition of dW, the sum of u u^T formed, each sign asked for."""
    updates = [update(*one) for one in adapters]
    (m, k), r = updates[0].shape, adapters[0][0].shape[1]
    c = min(m, r, k)
    side = np.array([word / 2**63 - 1 for word in words(NAMES[0], "pole", (m, k), m)])
    thin = [np.linalg.svd(dw, full_matrices=False) for dw in updates]
    roots = np.sqrt([singular_values(dw, r) for dw in updates])
    found = np.zeros((len(adapters), 2), object)
    for i in range(c):
        total = sum(np.outer(thin[row][0][:, i], thin[row][0][:, i]) for row in train if roots[row, i] > 0)
        pole = side if np.ndim(total) == 0 else np.linalg.eigh(total)[1][:, -1]
        pole = pole if pole @ side >= 0 else -pole
        for row, (u, _, v) in enumerate(thin):
            sign = -1 if pole @ u[:, i] < 0 else 1
            for place, vector in enumerate((u[:, i], v[i])):
                found[row, place] = np.append(found[row, place] if i else [], sign * roots[row, i] * vector)
    return np.array([np.concatenate(list(row)) for row in found])


@st.composite
def zoos(draw: st.DrawFn) -> list[Factors]:
    """Nine adapters of one module whose left vectors lean to one side, written in random gauges, some of less rank."""
    m, r, k = draw(st.integers(1, 9)), draw(st.integers(1, 3)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    middle = rng.normal(size=(m, r))
    adapters = []
    for row in range(9):
        up = middle + 0.4 * rng.normal(size=(m, r))
        down = rng.normal(size=(r, k)) * np.geomspace(8, 1, r)[:, None]
        if row == 4:
            up[:, -1] = 0
        turn = np.linalg.qr(rng.normal(size=(r, r)))[0]
        adapters.append(((up @ turn).astype(np.float32), (turn.T @ down).astype(np.float32)))
    return adapters


def apart(adapters: list[Factors]) -> bool:
    """Whether no two components of an adapter are of nearly equal size."""
    kept = [singular_values(update(*one), one[0].shape[1]) for one in adapters]
    return all(np.all(values[:-1] > 1.05 * values[1:]) for values in (one[one > 0] for one in kept))


def made(zoo: Zoo, train: NDArray[np.int64] = TRAIN, seed: int = 42) -> torch.Tensor:
    return lora_perf.represent(zoo, ["dw_canonical"], train=train, seed=seed)["dw_canonical"].values


@settings(max_examples=40, derandomize=True)
@given(adapters=zoos())
def test_components_and_signs_are_those_of_the_definition(adapters: list[Factors]) -> None:
    if not apart(adapters):
        return
    found, wanted = made(zoo_of([[one] for one in adapters])).double().numpy(), expected(adapters, TRAIN)
    size = np.abs(wanted).max()
    close = np.abs(found - wanted) <= 1e-5 * size
    m, c = adapters[0][0].shape[0], found.shape[1] // (adapters[0][0].shape[0] + adapters[0][1].shape[1])
    for row, i in np.argwhere(~close[:, : c * m].reshape(9, c, m).all(axis=2)):  # only where the sign hangs on rounding
        u = wanted[row, : c * m].reshape(c, m)[i]
        others = wanted[:, : c * m].reshape(9, c, m)[TRAIN, i]
        units = others / np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-30)
        pole = np.linalg.eigh(units.T @ units)[1][:, -1]
        assert abs(pole @ u) < 1e-4 * np.linalg.norm(u)
        np.testing.assert_allclose(-found[row, : c * m].reshape(c, m)[i], u, atol=1e-5 * size)


def leaning(n: int, m: int, noise: float, seed: int = 0) -> Zoo:
    """Rank-1 adapters whose u lean to one direction, each with a random sign."""
    rng = np.random.default_rng(seed)
    up = rng.normal(size=m) + noise * rng.normal(size=(n, m))
    down = rng.normal(size=(n, 6))
    signs = rng.choice([-1.0, 1.0], (n, 1))
    return zoo_of([[((signs[i] * up[i])[:, None], (signs[i] * down[i])[None, :])] for i in range(n)])


def test_components_that_lean_to_one_side_are_written_to_that_side() -> None:
    left = made(leaning(30, 40, 0.5), np.arange(20))[:, :40]
    cosines = torch.corrcoef(left)
    assert float(cosines.min()) > 0.3


def test_rows_that_are_not_for_training_settle_nothing() -> None:
    zoo = leaning(12, 10, 1.5)
    rows = zoo.rows.clone()
    rows[9:] = torch.randn((3, zoo.layout.p), generator=torch.Generator().manual_seed(1)) * 100
    other = Zoo.from_rows(rows, zoo.layout, zoo.labels, zoo.classes)
    train = np.arange(9)
    torch.testing.assert_close(made(other, train)[:9], made(zoo, train)[:9], rtol=0, atol=0)


@pytest.mark.parametrize(("q", "m"), [(60, 40), (40, 60)])
def test_the_leading_direction_is_the_first_right_singular_vector(q: int, m: int) -> None:
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=m) + 3 * rng.normal(size=(q, m))
    wanted = np.linalg.svd(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[2][0]
    found = canonical.leading_direction(torch.from_numpy(vectors), torch.from_numpy(wanted))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-9)


def test_zero_vectors_leave_the_fixed_side() -> None:
    side = torch.tensor([1.0, -2.0], dtype=torch.float64)
    assert canonical.leading_direction(torch.zeros(4, 2, dtype=torch.float64), side) is side


def test_many_train_rows_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "_MOST", 3)
    zoo = leaning(40, 12, 6.0)  # vectors longer than the limit, and more of them
    drawn = torch.randperm(30, generator=torch.Generator().manual_seed(7))[:3]
    found = made(zoo, np.arange(30), seed=7)
    torch.testing.assert_close(found, made(zoo, drawn.numpy()), rtol=0, atol=0)
    assert not torch.equal(found, made(zoo, np.arange(30), seed=8))


def test_dimensions_are_refused(random_zoo: MakeZoo) -> None:
    with pytest.raises(LoraPerfError, match="no number of dimensions for dw_canonical; found 4; leave it out"):
        lora_perf.represent(random_zoo(18), ["dw_canonical"], dimensions=4)


def test_a_zoo_without_labels_needs_train_rows(random_zoo: MakeZoo) -> None:
    zoo = random_zoo(18)
    bare = Zoo.from_rows(zoo.rows, zoo.layout, None, [])
    with pytest.raises(LoraPerfError, match="train rows for dw_canonical, which is fitted on them"):
        lora_perf.represent(bare, ["dw_canonical"])
    assert made(bare).shape == (18, 2 * (4 + 3) + 1 + 5)


def test_the_sign_rule_reads_more_of_digits_than_a_fixed_vector() -> None:
    """The numbers of the docstring: .895 by the train rows, .640 by a fixed vector."""
    from lora_perf.classifiers import CLASSIFIERS, Examples
    from lora_perf.core.split import make_split

    zoo = lora_perf.load("digits")
    split = make_split(zoo.required_labels, zoo.classes, zoo.split)
    features = lora_perf.represent(zoo, ["dw_canonical"], train=split)["dw_canonical"]
    fixed, left = features.values.clone(), 0
    for module, part in zip(zoo.layout.modules, features.parts, strict=True):
        right = left + len(part.names)
        shape = module.shape
        pole = np.array([word / 2**63 - 1 for word in words(".".join(module.up.path), "pole", shape, shape[0])])
        away = fixed[:, left : left + shape[0]].double() @ torch.from_numpy(pole) < 0
        fixed[:, left:right] *= torch.where(away, -1, 1)[:, None]
        left = right
    accuracies = []
    for values in (features.values, fixed):
        found = CLASSIFIERS["ridge"].fit(Examples(values, split), zoo.required_labels, 10).predictions[0]
        accuracies.append(float((found == zoo.required_labels[split.test]).double().mean()))
    assert accuracies == pytest.approx([0.895, 0.64], abs=0.02)
