import numpy as np
import programs_data
import torch

ds = programs_data.nested()
rows = []
for i in range(len(ds)):
    one = ds[i]  # FAULT row by row
    rows.append(np.float32(one["down"]))
x = torch.from_numpy(np.array(rows))
print(round(float(x.double().sum()), 2))
