"""Entries of factors, which are the rows of a zoo: where they stand, or copied where that costs little."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lora_perf.core.layout import Layer
from lora_perf.core.resources import memory_left
from lora_perf.core.rows import ArrayRows
from lora_perf.core.stored import STORED_NBYTES, StoredValues
from lora_perf.core.zoo import Zoo

# Of the memory that is left, what entries may fill that are not in memory yet: classifiers need some beside them.
MEMORY_SHARE = GPU_SHARE = 0.5


def standing(zoo: Zoo, layers: Sequence[Layer], device: torch.device) -> Tensor | StoredValues | None:
    """The entries of some layers where they stand; None where they are to be copied, being few or for a GPU that has room."""
    nbytes = zoo.nbytes if len(layers) == len(zoo.layout) else 4 * len(zoo) * sum(layer.size for layer in layers)
    if device.type == "cuda" and nbytes <= GPU_SHARE * torch.cuda.mem_get_info(device)[0]:
        return None
    if len(layers) == len(zoo.layout) and device.type == "cpu":
        at_hand = zoo.in_memory or nbytes <= STORED_NBYTES
        if at_hand or (not zoo.source.mapped and nbytes <= MEMORY_SHARE * memory_left()):
            return zoo.rows  # from here on the blocks of the pass are views of these rows
    elif nbytes <= STORED_NBYTES:
        return None
    source = ArrayRows(zoo.rows.numpy()) if zoo.in_memory else zoo.source
    return StoredValues(source, [layer.columns for layer in layers])
