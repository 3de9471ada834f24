"""GL-net: as plain loops in float64 compute it, the same in every basis, and as each seed alone trains."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, updates
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from lora_perf.core.factors import Factors
from lora_perf.core.rows import ArrayRows
from lora_perf.core.split import Split
from lora_perf.core.stored import StoredValues
from tests.classifiers.problems import split_of

GLNET = CLASSIFIERS["glnet"]
RECIPE = TrainingConfig(epochs=12, patience=12, dropout=0.1, batch_size=16)
# Two modules of one shape, one of another; U of the last row by row.
FACTORS = (Factors(5, 4, 2, 0, 10), Factors(3, 4, 2, 18, 24), Factors(5, 4, 2, 32, 42, by_rows=True))
WIDTH = 50


def plain(weights: dict[str, Tensor], updates_of_shapes: list[Tensor]) -> Tensor:
    """Logits (c,) of one seed and row in float64, of the updates dW (t, m, k) of each shape, which are formed."""
    w = {name: one.double() for name, one in weights.items()}
    z = []
    for i, of_shape in enumerate(updates_of_shapes):
        for t, dw in enumerate(of_shape.double()):
            for p in range(w[f"{i}.up"].shape[2]):
                z += [w[f"{i}.up"][t, :, p] @ dw @ w[f"{i}.down"][t, :, q] for q in range(w[f"{i}.down"].shape[2])]
    hidden = [w["offset"][h] + sum(z[j] * w["wide"][j, h] for j in range(len(z))) for h in range(w["wide"].shape[1])]
    active = torch.stack([h * 0.5 * (1 + math.erf(float(h) / 2**0.5)) for h in hidden])
    return active @ w["head"] + w["bias"]


def basis(rank: int, generator: torch.Generator) -> Tensor:
    """(r, r) float64, of condition 9 at most."""
    left, _, right = torch.linalg.svd(torch.randn(rank, rank, generator=generator, dtype=torch.float64))
    return left @ torch.diag(torch.linspace(1 / 3, 3, rank, dtype=torch.float64)) @ right


def moved(values: Tensor, generator: torch.Generator) -> Tensor:
    """The same updates, U G and V G^-T, another G of every row and module."""
    found = values.double().clone()
    for one in FACTORS:
        up, down = one.of(found)  # views
        for row in range(len(values)):
            g = basis(one.rank, generator)
            up[row], down[row] = g.mT @ up[row], torch.linalg.inv(g) @ down[row]
    return found.to(values)


def task(signal: float, seed: int = 0) -> tuple[Tensor, Tensor, Split]:
    """Features (90, 50) that hold factors of updates near those of three classes, each row in a basis of its own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(90, generator=generator) % 3
    means = torch.randn(3, WIDTH, generator=generator)
    values = signal * means[labels] + torch.randn(90, WIDTH, generator=generator)
    return moved(values, generator), labels, split_of(seed)


def examples(values: Tensor, split: Split) -> Examples:
    return Examples(values, split, None, FACTORS)


def stacked(shapes: list[updates.Shape], seeds: int = 2, classes: int = 3) -> dict[str, Tensor]:
    generators = [torch.Generator().manual_seed(seed) for seed in range(seeds)]
    each = [updates.drawn(one, shapes, classes) for one in generators]
    weights = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    for name in ("offset", "bias"):  # not what they begin as
        weights[name] = 0.3 * torch.randn(weights[name].shape, generator=generators[0])
    return weights


def test_the_stack_computes_what_plain_loops_compute() -> None:
    shapes, generator = [(2, 3, 4), (1, 5, 2)], torch.Generator().manual_seed(1)
    weights = stacked(shapes)
    sides = [torch.randn(2, 3, t, 2, n, generator=generator) for t, m, k in shapes for n in (m, k)]
    found = updates.forward(weights, sides)
    for s in range(2):
        for b in range(3):
            formed = [sides[2 * i][s, b].double().mT @ sides[2 * i + 1][s, b].double() for i in range(2)]
            wanted = plain({name: one[s] for name, one in weights.items()}, formed)
            # Sums of some hundred terms of order 1 in float32: errors near 1e-5.
            torch.testing.assert_close(found[s, b].double(), wanted, rtol=1e-3, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 6), k=st.integers(1, 6), rank=st.integers(1, 4), t=st.integers(1, 3), seed=st.integers(0, 1000))
def test_logits_are_the_same_in_every_basis_and_with_components_that_are_zero(
    m: int, k: int, rank: int, t: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = stacked([(t, m, k)])
    up, down = (torch.randn(2, 3, t, rank, n, generator=generator, dtype=torch.float64) for n in (m, k))
    g = basis(rank, generator)
    other = g.mT @ up, torch.linalg.inv(g) @ down
    padded = [torch.cat([one, torch.zeros_like(one[..., :1, :])], dim=3) for one in (up, down)]
    exact = {name: one.double() for name, one in weights.items()}
    logits = updates.forward(exact, [up, down])
    # A condition of at most 9 costs a digit, so errors are near 1e-14 in float64 and 1e-5 in float32.
    torch.testing.assert_close(updates.forward(exact, other), logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(updates.forward(exact, padded), logits, rtol=1e-9, atol=1e-9)
    single = updates.forward(weights, [one.float() for one in other])
    torch.testing.assert_close(single.double(), logits, rtol=1e-2, atol=1e-2)


def test_units_are_those_of_the_updates_of_train_rows_in_any_basis() -> None:
    values, _, split = task(1)
    values[:, 18:32] = 0
    generator = torch.Generator().manual_seed(2)
    both = [updates.Scaled(one[split.train], FACTORS)(one) for one in (values.double(), moved(values.double(), generator))]
    formed = [[sides[2 * i].mT @ sides[2 * i + 1] for i in range(2)] for sides in both]
    assert [tuple(one.shape) for one in formed[0]] == [(90, 2, 5, 4), (90, 1, 3, 4)]
    for one, other in zip(*formed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(formed[0][0][split.train].square().mean(dim=(0, 2, 3)), torch.ones(2, dtype=torch.float64))
    assert formed[0][1].abs().max() == 0
    dw = torch.einsum("nrm,nrk->nmk", *FACTORS[2].of(values.double()))
    ratio = dw / formed[0][0][:, 1]
    torch.testing.assert_close(ratio, ratio[:1, :1, :1].expand_as(ratio))


def test_training_is_that_of_a_plain_loop_on_updates_in_any_basis() -> None:
    """One seed, no dropout: float64, on updates that are formed, autograd, Adam of torch, the same orders."""
    values, labels, split = task(0.5)
    recipe = TrainingConfig(epochs=3, patience=3, dropout=0, batch_size=16)
    found = GLNET.fit(examples(values, split), labels, 3, Setup((7,), recipe))
    others = moved(values, torch.Generator().manual_seed(3))
    again = GLNET.fit(examples(others, split), labels, 3, Setup((7,), recipe))
    generator = torch.Generator().manual_seed(7)
    shapes = [(2, 5, 4), (1, 3, 4)]
    weights = {name: one.double().requires_grad_() for name, one in updates.drawn(generator, shapes, 3).items()}
    dw = [torch.einsum("nrm,nrk->nmk", *one.of(values.double())) for one in FACTORS]
    dw = [one / one[split.train].square().mean().sqrt() for one in dw]
    optimiser, losses = torch.optim.Adam([*weights.values()], 1e-3, weight_decay=1e-4), []
    for _ in range(3):
        order, total = split.train[torch.randperm(40, generator=generator)], 0.0
        for rows in order.split(16):
            z = [
                weights[f"{i}.up"][t].T @ dw[module][rows] @ weights[f"{i}.down"][t]
                for i, t, module in ((0, 0, 0), (0, 1, 2), (1, 0, 1))
            ]
            hidden = nn.functional.gelu(torch.stack(z, dim=1).flatten(1) @ weights["wide"] + weights["offset"])
            loss = nn.functional.cross_entropy(hidden @ weights["head"] + weights["bias"], labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / 40)
    assert found.runs[0].curves["train_loss"] == pytest.approx(losses, rel=1e-3)
    assert again.runs[0].curves["train_loss"] == pytest.approx(losses, rel=1e-3)


def test_classes_that_are_far_apart_are_found_in_any_basis() -> None:
    values, labels, split = task(6)
    found = GLNET.fit(examples(values, split), labels, 3, Setup((1,), RECIPE))
    others = moved(values, torch.Generator().manual_seed(4))
    assert torch.equal(found.predictions[0], labels[split.test])
    assert torch.equal(found.predict(others[split.test]), found.predictions)


def test_values_that_stay_where_they_are_give_what_the_tensor_gives() -> None:
    values, labels, split = task(0.5)
    stored = StoredValues(ArrayRows(values.numpy()))
    setup = Setup((1,), RECIPE)
    found, usual = (GLNET.fit(Examples(one, split, None, FACTORS), labels, 3, setup) for one in (stored, values))
    assert torch.equal(found.predictions, usual.predictions)
    assert found.runs[0].curves["train_loss"] == usual.runs[0].curves["train_loss"]


def test_features_without_factors_are_columns_and_the_cell_says_so() -> None:
    values, labels, split = task(3)
    found = GLNET.fit(Examples(values, split, torch.arange(WIDTH) // 10), labels, 3, Setup((1,), RECIPE))
    assert found.note == "no factors: standardised columns"
    assert GLNET.fit(examples(values, split), labels, 3, Setup((1,), RECIPE)).note == ""
