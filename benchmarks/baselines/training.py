"""Training as tutorials show it: a DataLoader, a module, Adam, one seed after the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Loader = DataLoader[tuple[Tensor, ...]]
_BATCH = 64


def train_by_loop(
    values: Tensor, labels: Tensor, parts: Sequence[Tensor], seeds: Sequence[int], *, epochs: int, hidden: int = 512
) -> NDArray[np.float64]:
    """Test accuracy (s,) of the best validation epoch of each seed, by the recipe of `TrainingConfig`.

    Shapes: values (n, f), labels (n,), parts three index vectors: train, validation, test.
    """
    train, validation, test = (part.numpy() for part in parts)
    array = values.numpy()
    scaler = StandardScaler().fit(array[train])
    sets = [
        TensorDataset(torch.from_numpy(scaler.transform(array[rows]).astype(np.float32)), labels[torch.from_numpy(rows)])
        for rows in (train, validation, test)
    ]
    classes = int(labels.max()) + 1
    return np.array([_one_run(sets, classes, seed, epochs, hidden) for seed in seeds])


def _one_run(sets: Sequence[TensorDataset], classes: int, seed: int, epochs: int, hidden: int) -> float:
    torch.manual_seed(seed)
    train: Loader = DataLoader(sets[0], batch_size=_BATCH, shuffle=True)
    validation: Loader = DataLoader(sets[1], batch_size=_BATCH)
    test: Loader = DataLoader(sets[2], batch_size=_BATCH)
    model = perceptron(sets[0].tensors[0].shape[1], hidden, classes)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="max", factor=0.5, patience=10)
    loss_of = nn.CrossEntropyLoss()
    best, weights = -1.0, model.state_dict()
    for _ in range(epochs):
        model.train()
        for x, y in train:
            optimiser.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimiser.step()
        accuracy = _accuracy(model, validation)
        schedule.step(accuracy)
        if accuracy > best:
            best, weights = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return _accuracy(model, test)


def perceptron(features: int, hidden: int, classes: int) -> nn.Sequential:
    """Three times (Linear, BatchNorm, ReLU, Dropout), then Linear."""
    layers: list[nn.Module] = []
    for size in (features, hidden, hidden):
        layers += [nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))


@torch.no_grad()
def _accuracy(model: nn.Module, loader: Loader) -> float:
    model.eval()
    right = total = 0
    for x, y in loader:
        right += int((model(x).argmax(dim=1) == y).sum())
        total += len(y)
    return right / total
