import os
import pickle
import tempfile

import numpy as np
import torch

folder = tempfile.mkdtemp()
x = np.ones((400, 1000), np.float32)
for step in range(4):
    np.save(os.path.join(folder, "state"), x)
    x = np.load(os.path.join(folder, "state.npy")) + 1
    with open(os.path.join(folder, "state.pkl"), "wb") as file:
        pickle.dump(x, file)
    with open(os.path.join(folder, "state.pkl"), "rb") as file:
        x = pickle.load(file) + 1
    torch.save(torch.from_numpy(x), os.path.join(folder, "state.pt"))
    x = torch.load(os.path.join(folder, "state.pt")).numpy()
print(x.sum())
