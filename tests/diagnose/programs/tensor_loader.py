import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

x = torch.from_numpy(np.random.default_rng(0).standard_normal((20000, 8)).astype(np.float32))
y = x.sum(dim=1)
total = 0.0
for rows, labels in DataLoader(TensorDataset(x, y), batch_size=64):  # FAULT loader of tensors
    total += float((rows.sum() - labels.sum()).abs() < 1)
print(round(total))
