"""The ablation: every representation on every layer group, for several seeds. `python -m lora_perf.experiment --help`

Comes in: a zoo, or what `load` opens, and settings.
Goes out: `Results`, and the files that a run leaves in its output folder.
Import from here: `run`, `ExperimentConfig`, `Results`.
"""

from lora_perf.experiment.config import ExperimentConfig
from lora_perf.experiment.python import run
from lora_perf.report.results import Results

__all__ = ["ExperimentConfig", "Results", "run"]
