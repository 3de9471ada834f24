import numpy as np

data = np.random.default_rng(0).standard_normal((300, 100))
small = data.astype(np.float32)
print(round(float(small.astype(np.float64).sum()), 2))
