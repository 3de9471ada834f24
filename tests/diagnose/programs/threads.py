from concurrent.futures import ThreadPoolExecutor

import torch

x = torch.rand(64, 1000)
with ThreadPoolExecutor(4) as pool:
    sums = list(pool.map(lambda row: float(row.sum()), x))
print(len(sums))
