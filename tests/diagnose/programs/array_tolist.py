import numpy as np

data = np.random.default_rng(0).standard_normal((300, 100))
small = data.astype(np.float32)
lists = small.tolist()  # FAULT to lists
total = sum(sum(row) for row in lists)
print(round(total, 2))
