"""Traces: where the time, the memory and the launches of any code go, this package's or yours.

Comes in: code while it runs.
Goes out: a `Trace`: a file that Perfetto and TensorBoard open, a page that needs nothing, and tables.
Import from here: `trace` for a block of code, `stage` to name its parts, `traced` for a command.

    >>> import tempfile, torch, lora_perf
    >>> folder = tempfile.mkdtemp()
    >>> with lora_perf.profiling.trace(folder, "example") as found:
    ...     with lora_perf.profiling.stage("products"):
    ...         _ = torch.ones(64, 64) @ torch.ones(64, 64)
    >>> [stage.path for stage in found.stages], found.operators["aten::mm"].calls
    ([('example',), ('example', 'products')], 1)
    >>> found.path.name.endswith(".pt.trace.json"), found.page.suffix
    (True, '.html')
"""

from lora_perf.core.profiling import stage
from lora_perf.profiling.found import HotLine, Stage, Trace
from lora_perf.profiling.tracing import trace, traced

__all__ = ["HotLine", "Stage", "Trace", "stage", "trace", "traced"]
