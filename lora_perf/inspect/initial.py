"""How A was initialised: one A for all adapters, a random one for each, or something between."""

from __future__ import annotations

import torch
from torch import Tensor

from lora_perf.core.layout import Layout
from lora_perf.inspect.findings import InitialA
from lora_perf.representations.content import Content, entries_of_module

# Training moves A. In `digits-shared`, 40 steps from one A, two adapters have A's of cosine 0.38 to 0.91, which is 0.43 to 0.89
# in the mean of a module; in `digits`, with an A each, of -0.40 to 0.41 (6 of a million pairs are above 0.35), and 0.00.
_RELATED = 0.35
_RELATED_IN_MODULE = 0.25
# Deviations of the cosine of independent A's beyond which two count as related.
_DEVIATIONS = 4.0
_MOST = 0.95  # share of the pairs of adapters that makes an A that of all

_MEANINGS = {
    "shared": "one A for all adapters, but for what training changed: the entries of B mean the same in all of them, and a "
    "flat vector already separates classes",
    "per adapter": "an A of its own for each adapter: the entries of B and A cannot be compared between adapters, so that flat "
    "vectors say little of the class; use representations of dW = s B A (dw_sketch, dw_spectrum, ...)",
    "mixed": "neither one A for all adapters nor one for each (several starts, or some modules only): features of the factors "
    "tell the starts apart, which may stand for the classes; use representations of dW = s B A",
    "unknown": "fewer than two adapters with an A to compare",
}


def cosines_of_downs(downs: Tensor) -> Tensor:
    """(modules,) mean cosine between the A's of two adapters, by `Content.downs`; NaN for fewer than two."""
    squares, n = downs.unbind(dim=1)
    return torch.where(n > 1, (squares - n) / (n * (n - 1)), torch.nan)


def initial_a(layout: Layout, content: Content, repeated: set[int]) -> InitialA:
    """How the A's of the adapters began, judged by how they end.

    Two A's are related where their cosine is above 0.35, and above four deviations of what independent ones of their size have.
    Shared: nearly all pairs of adapters are related, in every module. Per adapter: an adapter has no relatives, in no module.

    Args:
        repeated: adapters that repeat another one, whose A says nothing new.

    Cost: a matrix product of the entries of at most 1,000 adapters.
    """
    cosines = cosines_of_downs(content.downs)
    kept = [place for place, i in enumerate(content.sample.tolist()) if i not in repeated]
    entries = content.entries[kept]
    entries = entries[entries.any(dim=1)]
    q = len(entries)
    if q < 2 or not len(cosines) or bool(cosines.isnan().all()):
        return InitialA("unknown", 0.0, 0.0, 0.0, q, _MEANINGS["unknown"])
    sizes = torch.tensor([module.down.size for module in layout.modules], dtype=torch.float64)
    compared = sizes.clamp(max=entries_of_module(layout))
    chance = float((1 / compared).sum().sqrt() / len(compared))
    unit = torch.nn.functional.normalize(entries, dim=1)
    related = (unit @ unit.T > max(_RELATED, _DEVIATIONS * chance)).fill_diagonal_(False).sum().item() / (q * (q - 1))
    n = content.downs[:, 1]
    deviations = (2 / (n * (n - 1)).clamp(min=1) / sizes).sqrt()
    in_modules = cosines > (_DEVIATIONS * deviations).clamp(min=_RELATED_IN_MODULE)
    known = ~cosines.isnan()
    if related >= _MOST and bool(in_modules[known].all()):
        verdict = "shared"
    elif related * (q - 1) < 0.1 and not bool(in_modules.any()):
        verdict = "per adapter"
    else:
        verdict = "mixed"
    lowest, highest = float(cosines[known].min()), float(cosines[known].max())
    return InitialA(verdict, lowest, highest, related, q, _MEANINGS[verdict])  # type: ignore[arg-type]
