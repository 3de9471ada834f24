import numpy as np
import torch

data = np.random.default_rng(0).standard_normal((300, 100))
pieces = [one for row in torch.from_numpy(data) for one in row]
x = torch.stack(pieces)  # FAULT small pieces joined
print(round(float(x.double().sum()), 2))
