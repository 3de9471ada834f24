import os
import tempfile

import torch
from safetensors.torch import load_file, save_file

folder = tempfile.mkdtemp()
for i in range(8):
    save_file({"a": torch.full((100, 100), float(i))}, os.path.join(folder, f"{i}.safetensors"))
tensors = [load_file(os.path.join(folder, name))["a"] for name in sorted(os.listdir(folder))]
print(torch.stack(tensors).sum())
