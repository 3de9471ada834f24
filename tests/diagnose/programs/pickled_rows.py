import os
import pickle
import tempfile

import numpy as np

path = os.path.join(tempfile.mkdtemp(), "rows.pkl")
data = np.random.default_rng(0).standard_normal((2000, 40))
with open(path, "wb") as file:
    for row in data:
        pickle.dump(row, file)  # FAULT arrays pickled one by one
found = []
with open(path, "rb") as file:
    while file.peek(1):
        found.append(pickle.load(file))  # FAULT arrays pickled one by one
x = np.stack(found[:8])
print(len(found), round(float(x.sum()), 2))
