import pytest
import torch

from layers import Model, accuracy, attention, augment, collate, step


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return torch.randn(256, 64), torch.randint(10, (256,))


def test_forward(benchmark, model, batch):
    with torch.no_grad():
        assert benchmark(model, batch[0]).shape == (256, 10)


def test_step(benchmark, model, batch):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    assert benchmark(step, model, optimiser, *batch) > 0


def test_attention(benchmark):
    q, k, v = torch.randn(3, 4, 128, 32)
    assert benchmark(attention, q, k, v).shape == (4, 128, 32)


def test_accuracy(benchmark, batch):
    logits = torch.randn(20_000, 10)
    assert 0 <= benchmark(accuracy, logits, torch.randint(10, (20_000,))) <= 1


def test_collate(benchmark):
    samples = [{"x": torch.randn(64), "y": k % 10} for k in range(256)]
    assert benchmark(collate, samples)[0].shape == (256, 64)


class TestImages:
    def test_augment(self, benchmark):
        images = torch.randn(128, 32, 32)
        assert benchmark(augment, images, torch.Generator().manual_seed(0)).shape == images.shape
