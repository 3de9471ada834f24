"""The reading of an adapter file's header: its pairs of factors, whatever the library that wrote it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from lora_perf.dialects.kinds import kinds, refuse
from lora_perf.dialects.names import Part, parse_alpha, parse_part, settle
from lora_perf.dialects.scales import Recipe, read_metadata, read_recipe
from lora_perf.dialects.schema import Pair, Reading, TensorEntry
from lora_perf.dialects.shapes import check_alpha, flat_shapes
from lora_perf.errors import LoraPerfError, listed
from lora_perf.names import Side

_CONFIG = "adapter_config.json"
# What is missing where a dialect that always states its scales does not: then s = 1 is an assumption, and said.
_STATED = {"peft": f"no {_CONFIG}", "kohya": "no alpha"}
# Tensors that change the model too, but by no product B A.
_LOSSES = {".bias": "a bias", ".diff": "a full difference", ".diff_b": "a difference of a bias"}


def read_names(
    entries: Mapping[str, TensorEntry],
    metadata: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Reading:
    """The schema of one adapter file: which tensors are the factors of which module, and where its scale comes from.

    A tensor `<module>.alpha` counts first (s = alpha / r), then the configuration, then what diffusers wrote into the
    metadata; without any of them s = 1, as the libraries take it. Dtypes are not looked at.

    Args:
        entries: the tensors of the file's header by name.
        metadata: the header's `__metadata__`.
        config: the parsed `adapter_config.json` beside the file.

    Cost: each name is read once; no tensor is.

    Raises:
        LoraPerfError: no complete pair; a kind of adapter that is no product s B A, by name; factors of shapes that make no
            product; an alpha of many elements; two pairs or two alphas for one module; a configuration that cannot be right.
    """
    parts = {name: part for name in entries if (part := parse_part(name)) is not None}
    beside = {name: module for name in entries if (module := parse_alpha(name)) is not None}
    refuse(kinds(name for name in entries if name not in parts and name not in beside), "the names of its tensors")
    complete = settle(part.module for part in parts.values())
    alphas = _by_module(((complete(module), name) for name, module in beside.items()), "alpha")
    # A configuration of the adapter's own counts for the whole of it, whatever the component.
    recipes = read_metadata(metadata or {}) if config is None else {"": read_recipe(config, _CONFIG)}

    sides: dict[tuple[str, str], dict[Side, str]] = {}
    for name, part in parts.items():
        sides.setdefault((part.dialect, part.shared), {})[part.side] = name
    whole = [pair for pair in sides.values() if len(pair) == 2]
    _refuse_none(entries, parts, whole)
    downs = _by_module(((complete(parts[pair["down"]].module), pair["down"]) for pair in whole), "pair of factors")
    ups = {pair["down"]: pair["up"] for pair in whole}

    pairs = []
    assumed: Counter[str] = Counter()
    for module, down in sorted(downs.items()):
        up, alpha, scale = ups[down], alphas.get(module), None
        shapes = flat_shapes(module, entries[down].shape, entries[up].shape)
        if alpha is not None:
            check_alpha(alpha, entries[alpha])
        else:
            scale = _scale(parts[down], module, shapes[0][0], recipes)
            if scale is None:
                scale = 1.0
                assumed[parts[down].dialect] += 1
        pairs.append(Pair(module, down, up, *shapes, scale, alpha))

    unpaired = sorted(name for pair in sides.values() if len(pair) == 1 for name in pair.values())
    other = sorted(set(entries) - set(parts) - {pair.alpha for pair in pairs if pair.alpha})
    counts = Counter(parts[down].dialect for down in ups)
    return Reading(
        dialect=counts.most_common(1)[0][0],
        pairs=tuple(pairs),
        unpaired=tuple(unpaired),
        other=tuple(other),
        unknown=tuple(sorted({part.module for part in parts.values() if not part.known})),
        rslora=any(recipe.rslora for recipe in recipes.values()),
        notes=tuple(_notes(len(pairs), counts, assumed, recipes, other)),
    )


def _by_module(found: Iterable[tuple[str, str]], what: str) -> dict[str, str]:
    """The tensors by their modules, where each module has one."""
    by_module: dict[str, str] = {}
    for module, name in found:
        if module in by_module:
            raise LoraPerfError(
                expected=f"one {what} for the module {module}",
                found=f"two: {by_module[module]} and {name}",
                fix="split the file: it holds more than one adapter, or one in two dialects",
            )
        by_module[module] = name
    return by_module


def _refuse_none(entries: Mapping[str, TensorEntry], parts: Mapping[str, Part], whole: list[dict[Side, str]]) -> None:
    """Raises where there is no complete pair."""
    if whole:
        return
    if parts:
        raise LoraPerfError(
            expected="a down and an up of at least one module",
            found=f"single sides only: {listed(sorted(parts), 3)}",
            fix="leave the adapter out: it is incomplete",
        )
    raise LoraPerfError(
        expected="tensors that are factors of a LoRA (lora.down / lora.up, lora_down / lora_up, lora_A / lora_B)",
        found=f"none among {listed(sorted(entries), 3)}" if entries else "no tensor",
        fix="check that the file is a LoRA adapter, not a whole model",
    )


def _scale(part: Part, module: str, rank: int, recipes: Mapping[str, Recipe]) -> float | None:
    """s by the recipe of the module's component or of the whole file, None where neither is there."""
    component = module.partition(".")[0]
    if component in recipes:
        return recipes[component].scale(part.path.removeprefix(f"{component}."), rank)
    return recipes[""].scale(part.path, rank) if "" in recipes else None


def _notes(
    total: int, counts: Counter[str], assumed: Counter[str], recipes: Mapping[str, Recipe], other: list[str]
) -> Iterable[str]:
    """What a reader of the adapter should know besides its pairs."""
    if len(counts) > 1:
        yield "modules by dialect: " + ", ".join(f"{dialect} {count}" for dialect, count in counts.most_common())
    for dialect, count in sorted(assumed.items()):
        missing = _STATED.get(dialect) or ("no scale in the metadata" if recipes else None)
        if missing:
            yield f"{missing}: scale taken as 1 for {count} of {total} modules"
    for recipe in recipes.values():
        yield from recipe.notes
    for ending, what in _LOSSES.items():
        lost = [name for name in other if name.endswith(ending)]
        if lost:
            yield f"left out, since {what} is no product B A: {listed(lost, 3)}"
