import os
import tempfile

import numpy as np

path = os.path.join(tempfile.mkdtemp(), "rows.npy")
data = np.random.default_rng(0).standard_normal((2000, 40))
rows = []
for row in data:
    rows.append(row)
np.save(path, np.stack(rows))
found = np.load(path)
x = found[:8]
print(len(found), round(float(x.sum()), 2))
