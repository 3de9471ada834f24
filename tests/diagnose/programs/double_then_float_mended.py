import numpy as np
import torch

x = torch.from_numpy(np.random.default_rng(0).standard_normal((1500, 500), dtype=np.float32))
print(x.shape, x.dtype)
