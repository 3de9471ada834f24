"""The dialects of LoRA files: one schema from the names, the shapes and the configuration that each library writes."""

from lora_perf.io.dialects.kinds import kinds
from lora_perf.io.dialects.reading import read_names
from lora_perf.io.dialects.schema import Pair, Reading, TensorEntry

__all__ = ["Pair", "Reading", "TensorEntry", "kinds", "read_names"]
