"""Adapters that repeat an earlier one: the same factors, the same dW by other factors, or nearly the same dW."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lora_perf.core.rows import gathered
from lora_perf.core.zoo import Zoo
from lora_perf.representations.content import Content
from lora_perf.representations.stacks import module_stacks
from lora_perf.representations.streaming import CPU_BLOCK_NBYTES
from lora_perf.representations.updates.modules import Pairs

# Two dW whose difference is this small beside them are one: (B G, G^-1 A) in float32 differs by 6e-8 times the condition of G.
SAME = 1e-4
# The squared norm of a sketch of one rank-1 module exceeds this many times that of the update once in 20,000 cases, of
# several modules hardly ever.
_SLACK = 5.0
# Earlier adapters that one is compared with exactly, those of the nearest sketches.
_CANDIDATES = 4
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Repeat:
    """Adapter `second` repeats `first`, which comes earlier."""

    first: int
    second: int
    kind: Literal["identical", "same dW", "near"]
    cosine: float
    distance: float


def repeats_of(zoo: Zoo, content: Content, near: float) -> list[Repeat]:
    """The adapters of a zoo that repeat an earlier one, each once: of the nearest that was found.

    Equal factors are found by their hash. Of the others with dW != 0, those whose sketches are near are compared by the inner
    products sum((B1^T B2) * (A1 A2^T)), at most 4 with each adapter. dW is not formed.

    Args:
        near: the cosine of two dW from which they are near, at least 0.9.

    Cost: 256 n^2 flops in float32 for the sketches (n = 10,000: 26 GFlop), and two rows read for each pair compared: up
    to 4 an adapter, none where all sketches are far apart. Memory grows with n as that of `content_of`.
    """
    first_of: dict[bytes, int] = {}
    found: list[Repeat] = []
    alone: list[int] = []
    total = torch.linalg.vector_norm(content.norms, dim=1)
    for i, digest in enumerate(content.digests):
        if i in content.unread:
            continue
        first = first_of.setdefault(digest, i)
        if first != i:
            found.append(Repeat(first, i, "identical", 1.0, 0.0))
        elif bool(content.finite[i]) and bool(torch.isfinite(total[i])) and float(total[i]) > 0:
            alone.append(i)
    chosen = torch.tensor(alone, dtype=torch.int64)
    waiting = _candidates((content.sketches[chosen] / total[chosen, None]).float(), _SLACK * 2 * (1 - near))
    threads, step = torch.get_num_threads(), max(1, CPU_BLOCK_NBYTES // (8 * zoo.layout.p))
    # One thread a batch: kernels that shared the cores would wait for each other at every call (see `threads`).
    pool = ThreadPoolExecutor(threads, "compare", initializer=torch.set_num_threads, initargs=(1,))
    try:
        while waiting:
            left = []
            pairs = [(alone[others[0]], alone[i]) for i, others in waiting]
            batches = [pairs[start : start + step] for start in range(0, len(pairs), step)]
            results = chain.from_iterable(pool.map(partial(_compare, zoo), batches))
            for (i, others), (first, second, cosine, distance) in zip(waiting, results, strict=True):
                if distance <= SAME or cosine >= near:
                    found.append(Repeat(first, second, "same dW" if distance <= SAME else "near", cosine, distance))
                elif others[1:]:
                    left.append((i, others[1:]))
            waiting = left
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)  # the threads' setting is also torch's default for threads to come
    return sorted(found, key=lambda one: (one.second, one.first))


def _candidates(sketches: Tensor, limit: float) -> list[tuple[int, list[int]]]:
    """For each of q sketches of unit updates, earlier ones at a squared distance of at most `limit`, the nearest first."""
    found = []
    squares = sketches.square().sum(dim=1)
    for start in range(0, len(sketches), _CHUNK):
        stop = min(start + _CHUNK, len(sketches))
        distances = torch.addmm(squares[None, :stop], sketches[start:stop], sketches[:stop].T, alpha=-2)
        distances += squares[start:stop, None]
        distances.masked_fill_(torch.ones_like(distances, dtype=torch.bool).triu_(start), torch.inf)
        # The rounding of these sums is far below any limit, but not below the distances of the nearest.
        values, others = distances.topk(min(2 * _CANDIDATES, stop), dim=1, largest=False)
        for i in torch.nonzero(values[:, 0] <= limit)[:, 0].tolist():
            near = others[i][values[i] <= limit]
            exact = (sketches[near].double() - sketches[start + i].double()).square().sum(dim=1)
            found.append((start + i, near[exact.argsort(stable=True)][:_CANDIDATES].tolist()))
    return found


def _compare(zoo: Zoo, pairs: list[tuple[int, int]]) -> list[tuple[int, int, float, float]]:
    """The pairs, each with the cosine and the relative distance of its dW."""
    places = [*(first for first, _ in pairs), *(second for _, second in pairs)]
    rows = gathered(zoo.source, np.array(places))
    scales = None if zoo.scales is None else zoo.scales[places]
    inner, squares = torch.zeros(len(pairs), dtype=torch.float64), torch.zeros(len(places), dtype=torch.float64)
    for stack in module_stacks(zoo.layout, zoo.layout, torch.device("cpu")):
        updates = stack.updates(torch.from_numpy(rows), scales)
        positions = torch.arange(len(updates.up)).view(len(stack.modules), 2, len(pairs))
        first, second = positions[:, 0].flatten(), positions[:, 1].flatten()
        both = Pairs(updates, first, second)
        signed = updates.scale * updates.factor.sign()
        products = (both.up_product() * both.down_product()).sum(dim=(1, 2)) * signed[first] * signed[second]
        inner += products.view(len(stack.modules), -1).sum(dim=0)
        squares += (updates.unit_frobenius * updates.scale).square().view(len(stack.modules), -1).sum(dim=0)
    one, two = squares[: len(pairs)], squares[len(pairs) :]
    cosines = (inner / (one.sqrt() * two.sqrt())).clamp(-1, 1).tolist()
    distances = ((one + two - 2 * inner).clamp(min=0).sqrt() / torch.maximum(one, two).sqrt()).tolist()
    return [(*pair, cosine, distance) for pair, cosine, distance in zip(pairs, cosines, distances, strict=True)]
