import gzip
import os
import pickle
import tempfile

import numpy as np

path = os.path.join(tempfile.mkdtemp(), "parts.pkl")
with open(path, "wb") as file:
    for i in range(6):
        pickle.dump({"part": i, "x": np.full((300, 500), float(i))}, file)
total = 0.0
with open(path, "rb") as file:
    for _ in range(6):
        total += pickle.load(file)["x"].sum()
with gzip.open(path + ".gz", "wb") as file:
    pickle.dump([np.ones((200, 200)) for _ in range(20)], file)
with gzip.open(path + ".gz", "rb") as file:
    total += sum(one.sum() for one in pickle.load(file))
print(total)
