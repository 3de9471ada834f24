import numpy as np
import programs_data
import torch

ds = programs_data.nested()
frame = ds.to_pandas()  # FAULT objects of pandas
x = torch.from_numpy(np.stack([np.stack(one) for one in frame["down"]]))
print(round(float(x.double().sum()), 2))
