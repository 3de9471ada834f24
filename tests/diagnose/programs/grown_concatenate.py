import numpy as np

data = np.random.default_rng(0).standard_normal((300, 100))
x = np.zeros((0, 100))
for row in data:
    x = np.concatenate([x, row[None]])  # FAULT grown in a loop
print(round(float(x.sum()), 2))
