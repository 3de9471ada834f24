import os
import pickle
import tempfile

import numpy as np

path = os.path.join(tempfile.mkdtemp(), "rows.pkl")
data = np.random.default_rng(0).standard_normal((300, 400))
rows = []
for row in data:
    rows.append([float(one) for one in row])
with open(path, "wb") as file:
    pickle.dump(rows, file)  # FAULT numbers in a pickle
with open(path, "rb") as file:
    found = pickle.load(file)  # FAULT numbers in a pickle
print(round(sum(sum(row) for row in found), 2))
