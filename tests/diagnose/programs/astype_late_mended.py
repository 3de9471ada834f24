import numpy as np

x = np.zeros((1500, 500), np.float32)
x += 1.5
print(x.sum(), x.dtype)
