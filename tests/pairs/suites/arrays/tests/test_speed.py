import numpy as np
import pytest

import arrays


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).normal(size=(20_000, 16))


def test_normalise(benchmark, table):
    found = benchmark(arrays.normalise, table)
    assert abs(found.mean()) < 1e-9


def test_running_mean(benchmark, table):
    assert len(benchmark(arrays.running_mean, table[:, 0].copy(), 20)) == 19_981


def test_distances(benchmark, table):
    assert benchmark(arrays.distances, table[:4000], table[:64]).shape == (4000, 64)


@pytest.mark.parametrize("count", [10, 1000])
def test_top(benchmark, table, count):
    assert len(benchmark(arrays.top, table.ravel(), count)) == count


def test_histogram(benchmark, table):
    assert benchmark(arrays.histogram, table.ravel(), 50)[0].sum() == pytest.approx(1)


def test_correlations(benchmark, table):
    found = benchmark.pedantic(arrays.correlations, args=(table,), rounds=5, iterations=2)
    assert found.shape == (16, 16)


def test_load(benchmark, table):
    text = "\n".join(",".join(f"{cell:.4f}" for cell in row) for row in table[:500])

    def setup():
        return (text,), {}

    assert benchmark.pedantic(arrays.load, setup=setup, rounds=5).shape == (500, 16)


def test_without_a_benchmark(table):
    assert arrays.normalise(table[:1]).tolist() == [[0.0] * 16]
