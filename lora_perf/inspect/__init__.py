"""What is in a collection of adapters, and what is wrong with it: `python -m lora_perf.inspect PATH`."""

from lora_perf.inspect.findings import Finding, Inspection
from lora_perf.inspect.survey import inspection

__all__ = ["Finding", "Inspection", "inspection"]
