"""Writes what the programs read: `python prepare.py DATA`."""

import sys
from pathlib import Path

from lora_perf.zoos import synthetic
from lora_perf.zoos.synthetic import SyntheticConfig

data = Path(sys.argv[1])
data.mkdir(parents=True)
synthetic.write(SyntheticConfig(data / "adapters", adapters=300))
synthetic.write(SyntheticConfig(data / "small.safetensors", adapters=6000, layout="tiny", storage="packed"))
