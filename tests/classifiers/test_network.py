from math import prod

import pytest
import torch
from torch import nn

from lora_perf.classifiers.perceptron.network import Masks, Perceptron, effective_rate


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_of_autograd(dropout):
    g = torch.Generator().manual_seed(1)
    net = Perceptron.drawn([g, g], (7, 8, 3), 2, dtype=torch.float64)
    x, target = torch.randn(2, 10, 7, dtype=torch.float64, generator=g), torch.randint(3, (2, 10), generator=g)
    mask = (torch.rand(2, 2, 10, 8, dtype=torch.float64, generator=g) >= dropout).double() / (1 - dropout)
    logits = net.forward(x, list(mask.transpose(1, 2).flatten(2)) if dropout else None)
    net.backward((torch.softmax(logits, 2) - nn.functional.one_hot(target, 3)) / 10, 1 - dropout)
    for k in range(2):
        leaf = net.parameters[k].clone().requires_grad_()
        shapes = [(8, 7), (8, 8), (3, 8), *[(8,)] * 4, (3,)]
        pieces = [part.view(shape) for part, shape in zip(leaf.split([prod(shape) for shape in shapes]), shapes, strict=True)]
        w, v = pieces[:3], pieces[3:]
        out = x[k]
        for layer in range(2):
            out = nn.functional.batch_norm(out @ w[layer].T, None, None, v[2 * layer], v[2 * layer + 1], True)
            out = out.relu() * mask[layer, k]
        oracle = out @ w[2].T + v[4]
        torch.testing.assert_close(logits[k], oracle.detach())
        nn.functional.cross_entropy(oracle, target[k]).backward()
        torch.testing.assert_close(net.gradients[k], leaf.grad)


def test_products_in_bfloat16_give_gradients_in_float32():
    g = torch.Generator().manual_seed(2)
    net = Perceptron.drawn([g], (20, 32, 4), 3)
    x, gradient = torch.randn(1, 64, 20, generator=g), torch.randn(1, 64, 4, generator=g) / 64
    exact = net.forward(x)
    net.backward(gradient)
    expected = net.gradients.clone()
    rounded = net.forward(x.bfloat16())
    net.backward(gradient.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert net.logits(x[0].bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.05)
    assert net.gradients.dtype == torch.float32
    cosine = torch.cosine_similarity(net.gradients, expected)
    torch.testing.assert_close(cosine, torch.ones(1), rtol=0, atol=0.02)


def drawn(seeds, rate, hidden, sizes):
    """The masks of each step, (s, b, layers, h)."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    masks = Masks(generators, rate, 3, hidden, sizes, torch.float32)
    found = []
    for step, b in enumerate(sizes):
        if step % masks.steps == 0:
            masks.draw()
        layers = masks.of(step % masks.steps, b)
        assert layers is not None
        found.append(torch.stack(layers, dim=1).unflatten(2, (len(seeds), hidden)).movedim(2, 0))
    return found


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_drop_at_the_rate_and_keep_the_mean(rate):
    masks = torch.cat(drawn([1, 2], rate, 64, [64] * 20), dim=1)
    assert masks.shape == (2, 1280, 3, 64)
    kept = (masks > 0).float()
    torch.testing.assert_close(masks, kept / (1 - rate), rtol=1e-3, atol=0)
    # Standard error of the rate over 491,520 entries: below 0.0008; of a mean over the batches: below 0.014.
    assert kept.mean().item() == pytest.approx(1 - rate, abs=0.004)
    torch.testing.assert_close(kept.mean(1), torch.full((2, 3, 64), 1 - rate), rtol=0, atol=0.07)


@pytest.mark.parametrize(
    ("rate", "exact"), [(0.5, 0.5), (0.25, 0.25), (0.1, 6554 / 65536), (1e-9, 0.0), (1 - 1e-9, 65535 / 65536)]
)
def test_a_rate_is_one_that_sixteen_bits_can_tell_apart(rate, exact):
    assert effective_rate(rate) == exact


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_masks_are_those_of_the_run_alone(rate):
    sizes = [16] * 40 + [17]
    both, one = (drawn(seeds, rate, 9, sizes) for seeds in ([7, 8], [8]))
    assert [mask.shape[1] for mask in both] == sizes
    for pair, single in zip(both, one, strict=True):
        torch.testing.assert_close(pair[1:], single, rtol=0, atol=0)
    assert not torch.equal(both[0], both[16])  # a new draw, not the first one again


def test_layers_and_runs_drop_different_units():
    (mask,) = drawn([1, 2], 0.5, 64, [64])
    flat = mask.transpose(1, 2).reshape(6, -1)
    correlations = torch.corrcoef(flat) - torch.eye(6)
    assert correlations.abs().max() < 0.08  # five standard errors of 4,096 pairs


def test_nothing_dropped_needs_no_masks():
    masks = Masks([torch.Generator()], 0.0, 3, 8, [16, 16], torch.float32)
    masks.draw()
    assert masks.of(1, 16) is None
