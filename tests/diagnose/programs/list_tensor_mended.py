import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
x = torch.from_numpy(data.astype(np.float32))
print(round(float(x.double().sum()), 2))
