import numpy as np

data = np.random.default_rng(0).standard_normal((300, 100))
rows = [[float(one) for one in row] for row in data]
x = np.array(rows)  # FAULT list to tensor
print(round(float(x.sum()), 2))
