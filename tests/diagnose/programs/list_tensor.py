import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
rows = []
for row in data:
    rows.append([float(one) for one in row])
x = torch.tensor(rows)  # FAULT list to tensor
print(round(float(x.double().sum()), 2))
