"""Which modules tell the classes apart? The F of a one-way analysis of the norms of each factor: `python modules.py DATA`."""

import sys
from pathlib import Path

import torch
from datasets import load_from_disk

ds = load_from_disk(Path(sys.argv[1]) / "adapters")
names = ds["category_label"][:]
classes = sorted(set(names))
labels = torch.tensor([classes.index(name) for name in names])
scores = {}
for column in ds.column_names:
    if not column.endswith(".weight"):
        continue
    values = torch.tensor(ds[column])
    norms = values.flatten(1).double().norm(dim=1).log()
    groups = [norms[labels == label] for label in labels.unique()]
    between = sum(len(group) * (group.mean() - norms.mean()) ** 2 for group in groups) / (len(groups) - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (len(norms) - len(groups))
    scores[column] = float(between / within)
for column in sorted(scores, key=scores.get, reverse=True)[:5]:
    print(f"{scores[column]:8.1f}  {column}")
