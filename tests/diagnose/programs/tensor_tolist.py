import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
x = torch.from_numpy(data)
total = 0.0
for row in x.tolist():  # FAULT to lists
    total += sum(row)
print(round(total, 2))
