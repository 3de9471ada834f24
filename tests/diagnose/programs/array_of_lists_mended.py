import numpy as np

data = np.random.default_rng(0).standard_normal((300, 100))
print(round(float(data.sum()), 2))
