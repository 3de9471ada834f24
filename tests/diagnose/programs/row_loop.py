import numpy as np
import programs_data
import torch

ds = programs_data.nested()
rows = []
for row in ds:  # FAULT row by row
    rows.append(np.float32(row["down"]))
x = torch.from_numpy(np.array(rows))
print(round(float(x.double().sum()), 2))
