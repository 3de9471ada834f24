"""Adapters of one set of modules: the same modules under other names are found, and those of other modules are told apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.dialects.wrappers import loose_names
from lora_perf.io.files.adapter import Meaning
from lora_perf.io.files.reader import Opened

Modules = tuple[tuple[str, int, int], ...]


def align(opened: Iterable[Opened]) -> None:
    """Gives the same modules the same names in all adapters.

    Programs put the name of a wrapper before those of a model's modules (`transformer.`, `diffusion_model.`,
    `base_model.model.`, `lora_unet_`, ...), and kohya's write `_` for each dot. Adapters that agree in their modules and the
    shapes of dW but for that get the names that most of them have, dotted ones where there are any. Nothing is renamed where
    two modules of an adapter would become one, or where all have the same names already.

    Cost: each distinct set of modules is looked at once.
    """
    opened = list(opened)
    counts = Counter(one.meaning.modules for one in opened)
    if len(counts) < 2:
        return
    dotted = {one.meaning.modules for one in opened if not one.meaning.reading.unknown}
    alike: dict[frozenset[tuple[str, int, int]], list[Modules]] = {}
    for modules in counts:  # in the order in which they were met, so that the first of equals stands first
        common = loose_names([name for name, _, _ in modules])
        alike.setdefault(frozenset((common[name], m, k) for name, m, k in modules), []).append(modules)
    names: dict[Modules, dict[str, str]] = {}
    for family in alike.values():
        if len(family) > 1:
            usual = max(family, key=lambda modules: (modules in dotted, counts[modules]))
            wanted = {common: name for name, common in loose_names([name for name, _, _ in usual]).items()}
            for modules in family:
                common = loose_names([name for name, _, _ in modules])
                names[modules] = {name: wanted[common[name]] for name in common}
    renamed: dict[int, tuple[Meaning, Meaning, NDArray[np.intp]]] = {}
    scales: dict[tuple[int, int], NDArray[np.float64]] = {}
    for one in opened:
        found = names.get(one.meaning.modules)
        if found is None or all(old == new for old, new in found.items()):
            continue
        meaning = one.meaning
        if id(meaning) not in renamed:
            renamed[id(meaning)] = (meaning, *_renamed(meaning, found))
        _, one.meaning, order = renamed[id(meaning)]
        # Adapters without alphas of their own share their scales, which stay shared.
        key = id(one.scales), id(meaning)
        shared = one.scales is meaning.scales
        one.scales = scales.setdefault(key, one.scales[order]) if shared else one.scales[order]


def _renamed(meaning: Meaning, names: Mapping[str, str]) -> tuple[Meaning, NDArray[np.intp]]:
    """A meaning with other names of its modules, and the places where these stood before."""
    before = meaning.reading.pairs
    order = sorted(range(len(before)), key=lambda i: names[before[i].module])
    places = {old: new for new, old in enumerate(order)}
    pairs = tuple(replace(before[i], module=names[before[i].module]) for i in order)
    unknown = tuple(sorted(names[name] for name in meaning.reading.unknown if "." not in names[name]))
    changed = Meaning(
        replace(meaning.reading, pairs=pairs, unknown=unknown),
        meaning.entries,
        meaning.nbytes,
        tuple((names[meaning.modules[i][0]], *meaning.modules[i][1:]) for i in order),
        tuple(meaning.ranks[i] for i in order),
        meaning.scales[order],
        tuple((places[i], entry) for i, entry in meaning.alphas),
        meaning.claims and replace(meaning.claims, modules=np.array([places[i] for i in meaning.claims.modules.tolist()])),
    )
    return changed, np.array(order)


def agreeing(opened: list[Opened], folder: str, refuse: Callable[[str, LoraPerfError], None]) -> list[Opened]:
    """The adapters of the modules that most of them have; of those as frequent, the first's."""
    if not opened:
        return []
    align(opened)
    usual = Counter(one.meaning.modules for one in opened).most_common(1)[0][0]
    example = next(one for one in opened if one.meaning.modules == usual).member.path
    agreeing = []
    for one in opened:
        if one.meaning.modules == usual:
            agreeing.append(one)
            continue
        path = one.member.path
        refuse(
            path,
            LoraPerfError(
                expected=f"the modules of {example} ({len(usual)}) in {os.path.join(folder, path)}",
                found=_difference(one.meaning.modules, usual),
                fix="load adapters of one set of modules at a time, or leave this one out",
            ),
        )
    return agreeing


def tables_of(opened: Sequence[Opened]) -> dict[str, Any]:
    """Scales and ranks (n, modules) of agreeing adapters, None where all scales are 1 and all have the same ranks."""
    ranks = [one.meaning.ranks for one in opened]
    plain = all((scales == 1).all() for scales in {id(one.scales): one.scales for one in opened}.values())
    return {
        "scales": None if plain else torch.from_numpy(np.stack([one.scales for one in opened]).astype(np.float32)),
        "ranks": torch.tensor(ranks) if len(set(ranks)) > 1 else None,
    }


def _difference(found: Modules, usual: Modules) -> str:
    shapes, others = ({module: (m, k) for module, m, k in modules} for modules in (found, usual))
    parts = [
        (f"{len(shapes.keys() - others)} more", sorted(shapes.keys() - others)),
        (f"{len(others.keys() - shapes)} missing", sorted(others.keys() - shapes)),
    ]
    texts = [f"{count} ({listed(names, 3)})" for count, names in parts if names]
    other = [
        f"{name} of {shapes[name]}, not {others[name]}" for name in others if shapes.get(name, others[name]) != others[name]
    ]
    return ", ".join([*texts, *([f"dW of other shapes ({listed(other, 3)})"] if other else [])])
