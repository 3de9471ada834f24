"""What is in a collection of adapters, and what is wrong with it: `python -m lora_perf.inspect PATH`.

Comes in: a folder of adapter files, a zoo, or what `load` opens, with labels or without.
Goes out: an `Inspection`, and the files that the command was asked for.
Import from here: `run`, `Inspection`, `Finding`; `inspection` is what `run` was called before.
"""

from lora_perf.inspect.findings import Finding, Inspection
from lora_perf.inspect.survey import run

inspection = run

__all__ = ["Finding", "Inspection", "inspection", "run"]
