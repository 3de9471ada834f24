import torch
from torch.utils.data import DataLoader, Dataset


class Augmented(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i].flip(0)


total = sum(len(batch) for batch in DataLoader(Augmented(torch.rand(3000, 4)), batch_size=32))
print(total)
