import numpy as np
import torch

x = torch.from_numpy(np.random.default_rng(0).standard_normal((1500, 500)))
y = x.float()  # FAULT float64
print(y.shape, y.dtype)
