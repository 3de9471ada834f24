"""The perceptron as a classifier: one run a seed."""

from __future__ import annotations

from dataclasses import asdict

from torch import Tensor

from lora_perf.classifiers.perceptron.runs import train
from lora_perf.classifiers.protocol import USUAL, Examples, Fitted, Run, Setup
from lora_perf.classifiers.registry import CLASSIFIERS, DEFAULT


class MultilayerPerceptron:
    """Perceptrons of a recipe, trained together."""

    name = DEFAULT
    about = "the perceptron"
    seeded = True
    by_epochs = True
    targets: tuple[str, ...] = ("classes",)
    version = ""

    def refuse(self, n_train: int, features: int) -> None:
        """It learns from any number of features."""

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """One run a seed; see `Classifier.fit` and `train`."""
        trained = train(
            examples.values,
            labels,
            examples.split,
            n_classes,
            setup.seeds,
            setup.recipe,
            setup.device,
            setup.progress,
            keep=setup.keep,
        )
        runs = [
            Run(
                seed,
                trained.validation_accuracy[k],
                trained.best_epoch[k],
                trained.epochs_run[k],
                trained.seconds[k],
                {name: [float(value) for value in curve] for name, curve in asdict(trained.curves[k]).items()},
            )
            for k, seed in enumerate(trained.seeds)
        ]
        return Fitted(trained.predictions.cpu(), tuple(runs), examples.values.shape[1], trained.dropped, trained.answers)


CLASSIFIERS.add(DEFAULT, MultilayerPerceptron())
