import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
x = torch.from_numpy(data[:50])
total = 0.0
for i in range(50):
    for j in range(100):
        total += x[i, j].item()  # FAULT value by value
print(round(total, 2))
