import os
import tempfile

import numpy as np

path = os.path.join(tempfile.mkdtemp(), "rows.npy")
data = np.random.default_rng(0).standard_normal((300, 400))
np.save(path, data)
found = np.load(path)
print(round(float(found.sum()), 2))
