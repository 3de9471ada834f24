"""Transformers of all seeds at once: as torch's own modules compute them, and as each seed alone trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, transformer
from lora_perf.classifiers.perceptron.recipe import TrainingConfig
from tests.classifiers.problems import problem

W2T = CLASSIFIERS["w2t"]
RECIPE = TrainingConfig(epochs=12, patience=12, dropout=0.1, batch_size=16)


def plain(weights: dict[str, torch.Tensor], k: int, x: torch.Tensor) -> torch.Tensor:
    """Logits (b, c) of one seed by modules of torch in float64, attention by nn.MultiheadAttention."""
    w = {name: one[k].double() for name, one in weights.items()}
    h = torch.stack([x[:, t].double() @ w["embed"][t] for t in range(x.shape[1])], dim=1) + w["place"]
    d = h.shape[2]
    for block in ("0", "1"):
        norm = nn.LayerNorm(d).double()
        norm.weight.data, norm.bias.data = w[f"{block}.gain1"], w[f"{block}.offset1"]
        attention = nn.MultiheadAttention(d, 4, bias=False, batch_first=True).double()
        attention.in_proj_weight.data = torch.cat([w[f"{block}.{name}"].T for name in "qkv"])
        attention.out_proj.weight.data = w[f"{block}.out"].T
        normed = norm(h)
        h = h + attention(normed, normed, normed, need_weights=False)[0]
        norm.weight.data, norm.bias.data = w[f"{block}.gain2"], w[f"{block}.offset2"]
        h = h + nn.functional.gelu(norm(h) @ w[f"{block}.wide"]) @ w[f"{block}.narrow"]
    last = nn.LayerNorm(d).double()
    last.weight.data, last.bias.data = w["gain"], w["offset"]
    return last(h).mean(dim=1) @ w["head"] + w["bias"]


def test_the_stack_computes_what_modules_of_torch_compute() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    each = [transformer.drawn(one, 3, 5, 4) for one in generators]
    weights = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    for name, one in weights.items():
        if one.ndim == 2:  # gains, offsets and bias: not what they begin as
            weights[name] = one + 0.3 * torch.randn(one.shape, generator=generators[0])
    x = torch.randn(2, 6, 3, 5, generator=generators[0])
    found = transformer.forward(weights, x)
    for k in range(2):
        torch.testing.assert_close(found[k].double(), plain(weights, k, x[k]), rtol=1e-4, atol=1e-5)


def test_tokens_are_the_columns_of_each_layer_filled_with_zeros() -> None:
    values = torch.arange(10.0).reshape(2, 5)
    found = transformer.tokens_of(values, torch.tensor([4, 1, 4, 4, 1]))
    assert found[0].tolist() == [[1, 4, 0], [0, 2, 3]]


def test_training_is_that_of_a_plain_loop() -> None:
    """One seed, no dropout: autograd through the module above, Adam of torch, the same orders."""
    values, labels, split = problem(9, signal=0.5)
    layers = torch.arange(9) // 3
    recipe = TrainingConfig(epochs=3, patience=3, dropout=0, batch_size=16)
    found = W2T.fit(Examples(values, split, layers), labels, 3, Setup((7,), recipe))
    kept = values[:, :-2].double()
    train = kept[split.train]
    x = transformer.tokens_of((kept - train.mean(dim=0)) / train.std(dim=0, correction=0), layers[:-2])
    generator = torch.Generator().manual_seed(7)
    weights = {name: one.double()[None].requires_grad_() for name, one in transformer.drawn(generator, 3, 3, 3).items()}
    optimiser, losses = torch.optim.Adam([*weights.values()], 1e-3, weight_decay=1e-4), []
    held = []
    for _ in range(3):
        order, total = split.train[torch.randperm(40, generator=generator)], 0.0
        for rows in order.split(16):
            loss = nn.functional.cross_entropy(transformer.forward(weights, x[rows][None])[0], labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / 40)
        with torch.no_grad():
            logits = transformer.forward(weights, x[split.validation][None])[0]
            held.append(float(nn.functional.cross_entropy(logits, labels[split.validation])))
    assert found.runs[0].curves["train_loss"] == pytest.approx(losses, rel=1e-3)
    assert found.runs[0].curves["validation_loss"] == pytest.approx(held, rel=1e-3)


def test_classes_that_are_far_apart_are_found() -> None:
    values, labels, split = problem(30, signal=3)
    found = W2T.fit(Examples(values, split, torch.arange(30) // 5), labels, 3, Setup((1,), RECIPE))
    assert float((found.predictions[0] == labels[split.test]).double().mean()) > 0.9
