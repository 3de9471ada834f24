import programs_data
import torch

ds = programs_data.nested()


def features(data):
    return torch.tensor(data["down"][:])  # FAULT column to lists


def main():
    x = features(ds)
    print(round(float(x.double().sum()), 2))


main()
