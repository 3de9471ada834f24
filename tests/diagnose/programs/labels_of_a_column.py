import programs_data
import torch

ds = programs_data.flat(3000)
labels = torch.tensor(ds["label"][:])
print(int(labels.sum()), ds[0]["label"])
