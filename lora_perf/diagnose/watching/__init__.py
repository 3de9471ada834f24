"""Watches a program of anybody's and tells which of its lines lose time to conversions of data.

Entry points of torch, NumPy, datasets, pandas, pyarrow, safetensors and pickle where data change their form or place are
wrapped while it runs; calls that its own files make are counted and timed by line. Inside of such a call nothing is counted
again.
"""

from lora_perf.diagnose.watching.findings import Line, Watched
from lora_perf.diagnose.watching.program import watch_program
from lora_perf.diagnose.watching.watcher import watch

__all__ = ["Line", "Watched", "watch", "watch_program"]
