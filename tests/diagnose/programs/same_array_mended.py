import os
import tempfile

import numpy as np

path = os.path.join(tempfile.mkdtemp(), "a.npy")
np.save(path, np.ones((500, 1000), np.float32))
total = 0.0
a = np.load(path)
for _ in range(4):
    total += float(a.sum())
print(total)
