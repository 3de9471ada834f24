"""All that benchmarks take from inside the package: the one file that follows a move of its code.

Everything else here uses what the package's users use: `lora_perf.load`, `pack`, `represent`, `Zoo`, `LoraPerfError`, and the
commands. A name below is sought in its places one after the other when it is first used, today's first and then where
older commits had it, so that a base from before a move still runs today's workloads, and lacks no more than what it lacks.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PLACES = {
    # Stages that are measured alone, without the files and processes of a whole experiment.
    "Estimate": ("classifiers.metrics", "metrics"),
    "Examples": ("classifiers.protocol",),
    "FixedVectors": ("representations.updates.fixed", "representations.fixed"),
    "Scores": ("classifiers.metrics", "metrics"),
    "Setup": ("classifiers.protocol",),
    "StoredValues": ("core.stored",),
    "Standardiser": ("classifiers.standardise", "standardise"),
    "TrainingConfig": ("classifiers.perceptron.training", "training"),
    "Answers": ("classifiers.metrics",),
    "accuracy": ("classifiers.metrics", "metrics"),
    "difference_of": ("classifiers.metrics",),
    "holm": ("report.comparisons",),
    "learn": ("representations.learned", "learned"),
    "make_split": ("core.split", "split"),
    "score": ("classifiers.metrics", "metrics"),
    "paired_difference": ("classifiers.metrics", "metrics"),
    "train": ("classifiers.perceptron.runs", "classifier"),
    # What they give, which tests falsify.
    "Features": ("core.features", "features"),
    "Split": ("core.split", "split"),
    "TrainedRuns": ("classifiers.perceptron.runs", "classifier"),
    # What a workload has to make: a layout that no file declares.
    "Layout": ("core.layout", "layout"),
    # What a counter has to watch: every read of rows.
    "RowSource": ("core.rows", "core.zoo", "zoo"),
    # What the commands here share with those of the package: how they end, speak and write.
    "console": ("command.terminal", "terminal"),
    "exit_status": ("command.status", "command"),
    "listed": ("core.errors", "errors"),
    "machine": ("core.provenance", "provenance"),
    "parsed": ("command.arguments", "arguments"),
    "pressure": ("core.resources",),
    "replacing": ("io.atomic", "atomic"),
    "say": ("command.terminal", "terminal"),
    "versions": ("core.provenance", "provenance"),
}

# The files that decide what stands in a corpus: where one of them changes, corpora are made anew.
CORPUS_SOURCES = ("lora_perf/zoos/synthetic.py", "lora_perf/zoos/files.py", "lora_perf/io/store.py", "lora_perf/io/packing.py")


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(name)
    for place in _PLACES[name]:
        try:
            return getattr(import_module(f"lora_perf.{place}"), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this lora_perf has no {name} in {' or '.join(_PLACES[name])}")
