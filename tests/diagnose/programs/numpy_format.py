import numpy as np
import programs_data
import torch

ds = programs_data.nested()
x = torch.from_numpy(np.stack(ds.with_format("numpy")["down"][:]))  # FAULT numpy formatter
print(round(float(x.double().sum()), 2))
