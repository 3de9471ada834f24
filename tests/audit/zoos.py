"""Zoos of random factors for the audit."""

from __future__ import annotations

import torch

from lora_perf.core.layout import Layout
from lora_perf.core.zoo import Zoo


def random_zoo(n: int = 40, rank: int = 3, m: int = 6, k: int = 5, *, mixed: bool = False, scaled: bool = False) -> Zoo:
    """Two modules and a layer without a partner; with `mixed`, adapters of ranks 1 to `rank`, filled with zeros."""
    shapes = [("a.lora.down.weight", (rank, k)), ("a.lora.up.weight", (m, rank)), ("alone.lora.up.weight", (2, rank))]
    shapes += [("b.lora.down.weight", (rank, m)), ("b.lora.up.weight", (k, rank))]
    layout, generator = Layout(shapes), torch.Generator().manual_seed(1)
    rows = torch.randn((n, layout.p), generator=generator)
    ranks = torch.randint(1, rank + 1, (n, 2), generator=generator) if mixed else None
    for place, module in enumerate(layout.modules):
        unused = torch.zeros((n, rank), dtype=torch.bool) if ranks is None else torch.arange(rank) >= ranks[:, place, None]
        rows[:, module.up.columns].unflatten(1, module.up.shape).masked_fill_(unused[:, None, :], 0)
        rows[:, module.down.columns].unflatten(1, module.down.shape).masked_fill_(unused[:, :, None], 0)
    scales = torch.rand((n, 2), generator=generator) * 4 - 2 if scaled else None
    return Zoo.from_rows(rows, layout, torch.arange(n) % 3, ["a", "b", "c"], scales=scales, ranks=ranks)
