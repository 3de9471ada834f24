import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
x = torch.zeros(0, 100)
for row in torch.from_numpy(data).float():
    x = torch.cat([x, row[None]])  # FAULT grown in a loop
print(round(float(x.double().sum()), 2))
