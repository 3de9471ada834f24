import numpy as np

x = np.zeros((1500, 500))
x += 1.5
y = x.astype(np.float32)  # FAULT float64
print(y.sum(), y.dtype)
