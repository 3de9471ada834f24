import pickle

import numpy as np

data = np.random.default_rng(0).standard_normal((1500, 80))
blobs = {}
for i, row in enumerate(data):
    blobs[i] = pickle.dumps({"id": i, "up": [float(one) for one in row]})  # FAULT numbers in a pickle
total = 0.0
for i in blobs:
    total += sum(pickle.loads(blobs[i])["up"])  # FAULT numbers in a pickle
print(round(total, 2))
