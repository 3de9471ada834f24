"""How often is an adapter's nearest neighbour of its class? By the values of cross-attention: `python neighbours.py DATA`."""

import sys
from pathlib import Path

import numpy as np
import torch
from datasets import load_from_disk

ds = load_from_disk(Path(sys.argv[1]) / "adapters")
names = ds["category_label"][:]
classes = sorted(set(names))
labels = torch.tensor([classes.index(name) for name in names])
columns = [name for name in ds.column_names if "attn2.to_v" in name and name.endswith("up.weight")]
parts = []
for column in columns:
    chunks = [chunk.flatten().flatten().to_numpy().reshape(len(chunk), -1) for chunk in ds.data.column(column).chunks]
    parts.append(torch.from_numpy(np.concatenate(chunks)))
rows = torch.cat(parts, dim=1)
units = rows / rows.norm(dim=1, keepdim=True)
alike = (units @ units.T).abs().fill_diagonal_(-1)
print(f"{rows.shape[1]} values, {(labels[alike.argmax(dim=1)] == labels).double().mean():.3f}")
