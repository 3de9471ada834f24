"""What many tests ask of `load`, in one line each."""

from __future__ import annotations

from typing import Any

import pytest

import lora_perf
from lora_perf.core.errors import LoraPerfError
from lora_perf.core.zoo import Zoo


def refuses(source: Any, message: str, **settings: Any) -> None:
    """`load` refuses the source with an error in which the message, a regular expression, is found."""
    with pytest.raises(LoraPerfError, match=message):
        lora_perf.load(source, **settings)


def labels(zoo: Zoo) -> list[str]:
    """The class of each adapter."""
    return [zoo.classes[label] for label in zoo.required_labels.tolist()]


def parts(zoo: Zoo) -> list[int] | None:
    """The part of each adapter, None without a split."""
    return None if zoo.split is None else zoo.split.tolist()


def classes(source: Any, **settings: Any) -> dict[str, str]:
    """The class of each adapter by its name."""
    zoo = lora_perf.load(source, **settings)
    return dict(zip(zoo.names or [], labels(zoo), strict=True))
