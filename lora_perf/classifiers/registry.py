"""The registry of classifiers, those of the package and those of users: `CLASSIFIERS["mlp"]`, `list(CLASSIFIERS)`."""

from __future__ import annotations

from lora_perf.classifiers.protocol import Classifier
from lora_perf.core.registry import Registry

CLASSIFIERS: Registry[Classifier] = Registry("classifier")
DEFAULT = "mlp"  # the perceptron: what the original study trained
