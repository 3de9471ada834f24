import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
rows = [row.astype(np.float32) for row in data]
x = torch.from_numpy(np.stack(rows))
print(round(float(x.double().sum()), 2))
