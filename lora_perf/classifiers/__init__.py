"""Classifiers: features and labels -> predictions of the test rows.

Comes in: values (n, f), what is learned: classes, numbers, several labels (n, l); a split.
Goes out: predictions by name; metrics with their intervals.
Import from here: the registry, the protocol and the door for users' classifiers; `metrics` beside them.
"""

from lora_perf.classifiers.door import classifier
from lora_perf.classifiers.perceptron import runs as _perceptron  # noqa: F401 - fills the registry, the default first
from lora_perf.classifiers.probes import knn, logistic, ridge  # noqa: F401 - as it does
from lora_perf.classifiers.protocol import CLASSIFIERS, DEFAULT, Classifier, Examples, Fitted, Run, Setup, fitted, seeds_of
from lora_perf.classifiers.retrieval import RETRIEVAL as RETRIEVAL
from lora_perf.classifiers.transformer import TokenTransformer as TokenTransformer
from lora_perf.classifiers.updates import InvariantNet as InvariantNet
from lora_perf.classifiers.votes import LayerVote as LayerVote

__all__ = ["CLASSIFIERS", "DEFAULT", "Classifier", "Examples", "Fitted", "Run", "Setup", "classifier", "fitted", "seeds_of"]
