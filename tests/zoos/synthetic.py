"""Synthetic zoos of the tests, and how `datasets` itself reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from lora_perf.core.zoo import Zoo
from lora_perf.zoos.synthetic import SyntheticConfig, layout_of

TINY = SyntheticConfig(Path("unused"), adapters=40, layout="tiny", rank=2, classes=3, seed=5)
Storage = Literal["nested", "array2d", "parquet", "packed", "folder"]
FOLDERS: tuple[Storage, ...] = ("nested", "array2d", "parquet")
STORAGES: tuple[Storage, ...] = (*FOLDERS, "packed", "folder")


def sd15(rank: int = 1) -> SyntheticConfig:
    return replace(TINY, layout="sd15", rank=rank)


def loaded(path: Path, cache: Path) -> Any:
    """The data set that `datasets` itself finds in a folder."""
    import datasets

    if list(path.glob("*.parquet")):
        return datasets.Dataset.from_parquet([str(file) for file in sorted(path.glob("*.parquet"))], cache_dir=str(cache))
    return datasets.load_from_disk(str(path))


def zoo_of(dataset: Any, config: SyntheticConfig) -> Zoo:
    """The zoo in a data set, by way of its Python values."""
    layout = layout_of(config)
    columns = [np.array(dataset[layer.name][:], np.float32).reshape(len(dataset), -1) for layer in layout]
    classes = sorted(set(dataset["category_label"]))
    labels = torch.tensor([classes.index(label) for label in dataset["category_label"]])
    return Zoo.from_rows(torch.from_numpy(np.concatenate(columns, axis=1)), layout, labels, classes)
