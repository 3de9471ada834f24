"""The first layer whose gradient is made and used tile by tile: Adam's numbers on the whole of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lora_perf.classifiers.perceptron import first, network
from lora_perf.classifiers.perceptron.network import Perceptron


@dataclass
class Rate:
    lr: float


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of tiny layers."""
    monkeypatch.setattr(network, "_TILED", 0)


def _net(f: int, h: int, dtype: torch.dtype) -> Perceptron:
    return Perceptron.drawn([torch.Generator().manual_seed(3)], (f, h, 4), 2, dtype=dtype)


@given(
    f=st.integers(1, 9), h=st.integers(1, 11), rows=st.integers(1, 12), tile=st.integers(1, 40), decay=st.sampled_from([0, 0.1])
)
def test_tiles_take_the_steps_of_adam(f: int, h: int, rows: int, tile: int, decay: float) -> None:
    """In float64 against torch's Adam on the gradient of the whole, with a rate that falls on the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first, "_ROWS", rows)
        patch.setattr(first, "_TILE", tile)
        net, rate = _net(f, h, torch.float64), Rate(0.01)
        whole = torch.nn.Parameter(net.weights[0][0].clone())
        adam = torch.optim.Adam([whole], rate.lr, weight_decay=decay)
        generator = torch.Generator().manual_seed(f)
        with torch.no_grad():
            layer = first.FirstLayer(net, rate, decay, torch.float64)
            for step in range(4):
                rate.lr = adam.param_groups[0]["lr"] = 0.01 / (1 + step)
                gradient = torch.randn(5, h, generator=generator, dtype=torch.float64)
                source = torch.randn(5, f, generator=generator, dtype=torch.float64)
                layer(gradient, source)
                whole.grad = gradient.T @ source
                adam.step()
        torch.testing.assert_close(net.weights[0][0], whole.detach(), rtol=1e-10, atol=1e-12)


def test_the_shadow_is_what_the_weights_are() -> None:
    net = _net(6, 7, torch.float32)
    with torch.no_grad():
        layer = first.FirstLayer(net, Rate(0.1), 0, torch.bfloat16)
        layer(torch.randn(5, 7).bfloat16(), torch.randn(5, 6).bfloat16())
    assert torch.equal(net.shadows[0], net.weights[0].bfloat16())


def test_what_is_released_holds_no_moments() -> None:
    net = _net(6, 7, torch.float32)
    with torch.no_grad():
        layer = first.FirstLayer(net, Rate(0.1), 0, torch.float32)
        layer(torch.randn(5, 7), torch.randn(5, 6))
    optimisers = [optimiser for _, tiles in layer._parts for _, optimiser in tiles]
    assert all(optimiser.state for optimiser in optimisers)
    layer.release()
    assert not any(optimiser.state or optimiser.param_groups for optimiser in optimisers)
