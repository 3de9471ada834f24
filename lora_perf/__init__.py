"""Learning on LoRA weights at the speed of the machine.

    >>> import lora_perf
    >>> zoo = lora_perf.load("digits")
    >>> features = lora_perf.represent(zoo, ["stats", "spectral"])

Axes have one letter everywhere: n adapters, p parameters of one adapter, r rank, m rows of an up, k columns of a down,
f features, s runs, b rows of a batch or block, c classes.
"""

from lora_perf.command import begin

begin()  # before torch is imported, which takes seconds

from lora_perf.errors import LoraPerfError
from lora_perf.represent import represent
from lora_perf.representations import REPRESENTATIONS
from lora_perf.sources import load, pack
from lora_perf.zoo import Zoo

__version__ = "0.1.0"
__all__ = ["REPRESENTATIONS", "LoraPerfError", "Zoo", "load", "pack", "represent"]
