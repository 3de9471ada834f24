"""The settings of an audit: one frozen dataclass for defaults, flags and help."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lora_perf.classifiers import CLASSIFIERS
from lora_perf.core.ambient import refuse_threads
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.settings import refuse_nameless
from lora_perf.core.split import refuse_seeds


@dataclass(frozen=True)
class AuditConfig:
    """Audits representations: do features and accuracies change when B A is written as (B G) (G^-1 A)?

    Classifiers are trained on the train adapters as they are and tested on the test adapters, as they are and in each gauge.
    Writes audit.html, audit.md, audit.json and audit.svg to the output folder. Exit status: 0 done, 2 a wrong argument,
    130 interrupted.
    """

    dataset: str
    """Embedded zoo (digits, digits-shared), Hub alias (1k, 10k, 50k, 100k, small, sanity-check), Hub id, or a path."""
    representations: tuple[str, ...] = ("ten", "dw", "learned")
    """Representations to audit, or sets of them: ten, dw (of the update B A), learned (fitted on the train rows)."""
    layers: str = "all"
    """Layer group: all, visual, text, up, down, or part of a module's name, as attn2.to_v."""
    classifiers: tuple[str, ...] = field(default=("ridge",), metadata={"known": CLASSIFIERS})
    """Classifiers by their names."""
    adapters: Literal["test", "all"] = "test"
    """Whose features are moved: those of the test adapters, or of all, for which memory may hold five times the rows."""
    num_runs: int = 10
    """Runs (seeds) of classifiers that have seeds, as mlp."""
    seed: int = 42
    """Seed of the gauges, of the split, of learned representations and of the perceptron's first run."""
    threads: int | None = None
    """Threads that compute; by default as many as PyTorch takes."""
    label_column: str | None = "category_label"
    """Column of the labels in a data set or in the metadata of adapter files."""
    skip_bad: bool = False
    """Leave adapter files out that cannot be read, and say how many, instead of stopping at the first."""
    output_dir: Path = Path("results/audit")
    """Folder of the report."""
    trace: Path | None = None
    """Folder for a trace of the work: a page, and a file for Perfetto and TensorBoard."""

    def __post_init__(self) -> None:
        refuse_threads(self.threads)
        refuse_nameless(self, ("representations", "classifiers"))
        if self.num_runs < 1:
            raise LoraPerfError(expected="--num-runs of at least 1", found=str(self.num_runs), fix="change --num-runs")
        CLASSIFIERS.resolve(self.classifiers)
        refuse_seeds(self.seed, self.num_runs)
