import programs_data
import torch

ds = programs_data.nested()
x = torch.tensor(ds["down"][:])  # FAULT column to lists
print(round(float(x.double().sum()), 2))
