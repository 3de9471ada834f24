"""Nearest neighbours layer by layer, and the majority of what they say."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from lora_perf.classifiers.protocol import CLASSIFIERS, USUAL, Examples, Fitted, Run, Setup
from lora_perf.classifiers.scores import gains
from lora_perf.classifiers.standardise import Standardiser
from lora_perf.core.errors import LoraPerfError

_CHUNK_NBYTES = 64 << 20  # of float64 distances at a time


class LayerVote:
    """For each layer the train row that is nearest in its features alone; then what most layers say.

    Features are taken as they are, not standardised, so that of `dw_singular_values` the distance in a layer is that of the
    singular values of two updates. Layers (modules, where columns belong to these) whose features are constant on the train
    rows have no vote; of equally many votes the smaller class or number is taken.

    On `digits-mixed` it tells nothing of the number of images (accuracy .279 where always naming the commonest number gives
    .293), and neither do other probes of singular values (knn .312, ridge .306).

    Source: DSiRe (2024, arXiv 2406.19395), which so recovers the number of training images from singular values.
    """

    name = "dsire"
    about = "nearest neighbours layer by layer with a majority vote, for dw_singular_values"
    seeded = False
    by_epochs = False
    targets: tuple[str, ...] = ("classes", "numbers")
    version = ""

    def refuse(self, n_train: int, features: int) -> None:
        """It takes any number of rows and features."""

    def fit(self, examples: Examples, labels: Tensor, n_classes: int, setup: Setup = USUAL) -> Fitted:
        """See `Classifier.fit`. Nothing is chosen on the validation rows.

        Cost: 2 n_train n_test f flops in float64; distances of a layer at a time.
        Raises:
            LoraPerfError: examples without the layers of their columns.
        """
        if examples.layers is None:
            raise LoraPerfError(
                expected=f"features that say which layer each column came from, for {self.name}",
                found="a matrix alone",
                fix="give Examples the layers of the features, as Features.layers holds them",
            )
        begin = time.perf_counter()
        split = examples.split
        standardiser = Standardiser.fit(examples.values, split.train)
        of_layers = examples.layers[standardiser.kept.cpu()]
        columns = [standardiser.kept.cpu()[of_layers == layer] for layer in of_layers.unique()]
        values = torch.as_tensor(examples.values.index_select(1, standardiser.kept)).cpu().double()
        places = torch.full((examples.values.shape[1],), -1)
        places[standardiser.kept.cpu()] = torch.arange(values.shape[1])
        known = [values[split.train][:, places[of_layer]] for of_layer in columns]
        said = labels[split.train.to(labels.device)].cpu()

        def told(rows: Tensor) -> Tensor:
            """What most layers say of rows (m, f_kept)."""
            votes = [said[_nearest(rows[:, places[one]], train)] for one, train in zip(columns, known, strict=True)]
            return _majority(torch.stack(votes, dim=1))

        def answers(further: Tensor) -> Tensor:
            return told(further.cpu().index_select(1, standardiser.kept.cpu()).double())[None]

        predictions, validated = (told(values[rows])[None] for rows in (split.test, split.validation))
        truth = labels[split.validation.to(labels.device)].cpu().numpy()
        reached = float(gains(setup.task, validated.numpy(), truth).mean())
        run = Run(None, reached, seconds=time.perf_counter() - begin, setting={"layers": len(columns)})
        kept = answers if setup.keep else None
        return Fitted(predictions, (run,), examples.values.shape[1], standardiser.dropped, kept)


def _nearest(rows: Tensor, train: Tensor) -> Tensor:
    """(m,) for each of rows (m, d) the nearest of the train rows (n, d), the first of equally near ones."""
    step = max(1, _CHUNK_NBYTES // (8 * len(train)))
    exact = "donot_use_mm_for_euclid_dist"  # squares that cancel would name another row where distances are small
    found = [torch.cdist(some, train, compute_mode=exact).argmin(dim=1) for some in rows.split(step)]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def _majority(votes: Tensor) -> Tensor:
    """(m,) the commonest value in each row of votes (m, layers), the smallest of equally common ones."""
    values, places = votes.unique(return_inverse=True)
    counts = torch.zeros(len(votes), len(values), dtype=torch.int64)
    counts.scatter_add_(1, places, torch.ones_like(places))
    commonest: Tensor = values[counts.argmax(dim=1)]
    return commonest


CLASSIFIERS.add(LayerVote.name, LayerVote())
