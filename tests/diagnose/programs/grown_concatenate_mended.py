import numpy as np

data = np.random.default_rng(0).standard_normal((300, 100))
rows = []
for row in data:
    rows.append(row)
x = np.stack(rows)
print(round(float(x.sum()), 2))
