"""The streamed pass on the workers of a cluster: each makes the features of some rows, the caller puts them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.core.features import Features
from lora_perf.core.layout import Layer
from lora_perf.core.zoo import Zoo
from lora_perf.distributed import over_rows
from lora_perf.representations.registry import REPRESENTATIONS, USERS, Representation

TASK_NBYTES = 1 << 30  # of rows that a worker takes at a time


def made_elsewhere(one: Representation) -> bool:
    """Whether workers can make it: those of the package that are more than columns of the rows."""
    return one.streamed and all(REPRESENTATIONS[part].stored and REPRESENTATIONS[part].family != USERS for part in one.parts)


def streamed_elsewhere(
    zoo: Zoo, names: Sequence[str], layers: Sequence[Layer], scheduler: str, progress: Callable[[int], object] | None
) -> dict[str, Features]:
    """Features as the pass of one process makes them, to the bit, by the workers of a Dask cluster.

    They see the source of the zoo under the same path, or are sent its rows where these are in memory.
    """
    values: dict[str, NDArray[np.float32]] = {}
    asked = list(names), [layer.name for layer in layers]
    for rows, found in over_rows(scheduler, represent_rows, zoo, TASK_NBYTES, *asked, progress=progress):
        for name, block in found.items():
            values.setdefault(name, np.empty((len(zoo), block.shape[1]), np.float32))[rows] = block
    made = {}
    for name in names:
        parts = REPRESENTATIONS[name].describe(zoo.layout, layers, values[name].shape[1]) or ()
        made[name] = Features(torch.from_numpy(values[name]), zoo.layout, parts, zoo.given_names)
    return made


def represent_rows(zoo: Zoo, _: slice, names: list[str], layers: list[str]) -> dict[str, NDArray[np.float32]]:
    """A task: the features of some rows."""
    from lora_perf.representations.streaming import represent  # which asks for this module

    found = represent(zoo, names, layers=[zoo.layout[name] for name in layers])
    return {name: features.values.numpy() for name, features in found.items()}
