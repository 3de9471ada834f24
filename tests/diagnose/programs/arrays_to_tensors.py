import numpy as np
import torch

rng = np.random.default_rng(0)
arrays = [rng.standard_normal((50, 200), dtype=np.float32) for _ in range(20)]
x = torch.from_numpy(np.stack(arrays))
print(x.shape, x.to("cpu").dtype, x.float() is x)
