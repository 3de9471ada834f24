"""Trains a small network to tell the class of an adapter by its weights: `python training.py DATA`."""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

found = load_file(Path(sys.argv[1]) / "small.safetensors")
weights, y = found["rows"], found["labels"].long()
x = np.zeros(tuple(weights.shape), np.float32)
for i, row in enumerate(weights):
    x[i] = row * 10
x = torch.from_numpy(x)
tested = 1500
batches = torch.arange(tested, len(x)).split(100)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(30):
    total = 0.0
    for at in batches:
        batch, labels = x[at], y[at]
        loss = torch.nn.functional.cross_entropy(model(batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    with torch.no_grad():
        guesses = model(x[:tested]).argmax(dim=1)
    right = int((guesses == y[:tested]).sum())
    if epoch % 10 == 9:
        print(f"epoch {epoch + 1}: loss {total / len(batches):.4f}, {right / tested:.3f} right")
