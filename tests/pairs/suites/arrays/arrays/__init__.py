"""Statistics of tables."""

import numpy as np


def normalise(table):
    """Columns of mean 0 and deviation 1."""
    centred = table - table.mean(axis=0)
    deviation = centred.std(axis=0)
    return centred / np.where(deviation > 0, deviation, 1)


def running_mean(values, width):
    sums = np.cumsum(values)
    sums[width:] = sums[width:] - sums[:-width]
    return sums[width - 1 :] / width


def distances(points, centres):
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)[None, :]
    return np.sqrt(np.maximum(squares - 2 * points @ centres.T, 0))


def top(values, count):
    """The largest values, the largest first."""
    chosen = np.argpartition(values, -count)[-count:]
    return np.sort(values[chosen])[::-1]


def histogram(values, bins):
    counts, edges = np.histogram(values, bins=bins)
    return counts / counts.sum(), edges


def correlations(table):
    scaled = normalise(table)
    return scaled.T @ scaled / len(scaled)


def load(text):
    return np.array([[float(cell) for cell in line.split(",")] for line in text.splitlines()])
