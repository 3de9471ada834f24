"""What every way to read a data set costs, and what to write instead: `python -m lora_perf.diagnose DATASET`.

Comes in: whatever `load` opens that stands on a disk or in a `datasets.Dataset`.
Goes out: a `Diagnosis`: how it is stored, seconds of each way for the whole of it beside a copy of the same bytes, a page.
Import from here: `run`, `Diagnosis`, `Reading`; `watch` and `watch_program` for programs: which of their lines lose time.
"""

from lora_perf.diagnose.findings import Diagnosis, Reading
from lora_perf.diagnose.survey import run
from lora_perf.diagnose.watching import Watched, watch, watch_program

__all__ = ["Diagnosis", "Reading", "Watched", "run", "watch", "watch_program"]
