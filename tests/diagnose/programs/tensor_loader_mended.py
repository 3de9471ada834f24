import numpy as np
import torch

x = torch.from_numpy(np.random.default_rng(0).standard_normal((20000, 8)).astype(np.float32))
y = x.sum(dim=1)
total = 0.0
for at in torch.arange(len(x)).split(64):
    rows, labels = x[at], y[at]
    total += float((rows.sum() - labels.sum()).abs() < 1)
print(round(total))
