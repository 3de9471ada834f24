import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
rows = []
for row in torch.from_numpy(data).float():
    rows.append(row)
x = torch.stack(rows)
print(round(float(x.double().sum()), 2))
