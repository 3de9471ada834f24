import programs_data
import torch

ds = programs_data.nested()
x = torch.tensor(ds.data.column("down").to_pylist())  # FAULT to lists
print(round(float(x.double().sum()), 2))
