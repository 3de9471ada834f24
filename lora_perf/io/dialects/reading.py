"""The reading of an adapter file's header: its pairs of factors, whatever the library that wrote it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from math import prod
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.names import MLX, Side
from lora_perf.io.dialects.kinds import EXPERTS, EXTRAS, is_part, kinds, refuse
from lora_perf.io.dialects.names import Part, parse_alpha, parse_part, settle
from lora_perf.io.dialects.scaling import Scaling
from lora_perf.io.dialects.schema import Claim, Pair, Reading, TensorEntry
from lora_perf.io.dialects.shapes import check_alpha, flat_shapes
from lora_perf.io.dialects.wrappers import loose, loose_names

# Modules of which PEFT trains parameters, not weights of a linear map: all experts of a layer in one tensor of three axes.
# Experts that are modules of their own have numbers: experts.0.up_proj.
_EXPERTS = re.compile(r"(.*\.)?(experts(\.[^0-9.][^.]*)?|base_layer)")
# What quantised values are multiplied with, by what stands in the place of `.weight`.
_FACTOR_SCALES = (".scale_weight", ".weight_scale", ".weight.scale")
QUANTISED = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "I8")
# How a message begins what it found where a part of the update would be lost.
UNREAD = "parts of the update that are not read: "
# Numbers beside the factors of a module whose meaning nothing defines.
_MULTIPLIERS = (".scale", ".scaling", ".scalar")


def read_names(
    entries: Mapping[str, TensorEntry],
    metadata: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    unclear: str | None = None,
) -> Reading:
    """The schema of one adapter file: which tensors are the factors of which module, and where its scale comes from.

    Every statement of a scale is collected: the tensor `<module>.alpha` (s = alpha / r), the configuration beside the file,
    what diffusers wrote into the metadata, their plain keys (`lora_alpha` and the like), and kohya's defaults
    (`ss_network_alpha`). They must agree, or the file is refused with both named; only kohya's defaults may differ from a
    tensor, as they do in resized and merged files: the tensor counts, and the difference is a problem. Where nothing is
    stated, s = 1, as the libraries take it; programs that write kohya's files with other names fold the scale into the
    factors and keep the defaults, which therefore count for kohya's own names alone. Dtypes decide only which factors are
    quantised.

    Args:
        entries: the tensors of the file's header by name.
        metadata: the header's `__metadata__`.
        config: the parsed `adapter_config.json` beside the file.
        unclear: what stands beside the file instead of a configuration of its own; it is refused where a scale is needed.

    Cost: each name is read once; no tensor is.

    Raises:
        LoraPerfError: no complete pair; a kind of adapter that is no product s B A, by name; factors of shapes that make no
            product; an alpha of many elements; two pairs or two alphas for one module; an alpha of no module where another
            module has none; statements of a scale or a rank that contradict each other; a configuration that cannot be right.
    """
    parts = {name: part for name in entries if (part := parse_part(name)) is not None}
    beside = {name: module for name in entries if (module := parse_alpha(name)) is not None}
    refuse(kinds_of(entries, parts), "the names of its tensors")
    complete = settle(part.module for part in parts.values())
    sides: dict[tuple[str, str], dict[Side, str]] = {}
    for name, part in parts.items():
        sides.setdefault((part.dialect, part.shared), {})[part.side] = name
    whole = [pair for pair in sides.values() if len(pair) == 2]
    _refuse_none(entries, parts, whole)
    downs = _by_module(((complete(parts[pair["down"]].module), pair["down"]) for pair in whole), "pair of factors")
    ups = {pair["down"]: pair["up"] for pair in whole}
    alphas = _alphas(beside, downs, complete)
    scaling = Scaling(metadata or {}, config, unclear)

    pairs: list[Pair] = []
    for module, down in sorted(downs.items()):
        up, alpha, transposed = ups[down], alphas.get(module), parts[down].dialect == MLX
        shapes = flat_shapes(module, entries[down].shape, entries[up].shape, transposed=transposed)
        conv = prod(entries[down].shape[2:]) > 1
        scale: float | None = None
        claims: tuple[Claim, ...] = ()
        if alpha is None:
            scale = scaling.scale(parts[down], module, shapes[0][0], conv)
        else:
            check_alpha(alpha, entries[alpha])
            claims = scaling.claims(parts[down], module, shapes[0][0], conv)
        down_scale, up_scale = _factor_scale(down, entries), _factor_scale(up, entries)
        pairs.append(Pair(module, down, up, *shapes, scale, alpha, claims, down_scale, up_scale, transposed))

    used = {name for pair in pairs for name in (pair.alpha, pair.down_scale, pair.up_scale)}
    other = sorted(set(entries) - set(parts) - used)
    idle = [name for name in other if name in beside]
    stems = {pair.module for pair in pairs} | {parts[pair.down].path for pair in pairs}
    unsupported = [name for name in other if name not in beside and (is_part(name) or _multiplies(name, stems))]
    if idle and scaling.assumed and not unsupported:
        raise LoraPerfError(
            expected="the factors of each module that has an alpha, or the alpha of each that has factors",
            found=f"no factors for {listed(idle, 3)}, and no scale for {scaling.assumed} of {len(pairs)} modules",
            fix="leave the adapter out, or rename its tensors so that each alpha has the name of its module",
        )
    problems = [*scaling.problems(), *([f"alphas of modules without factors: {listed(idle, 3)}"] if idle else [])]
    counts = Counter(parts[down].dialect for down in ups)
    return Reading(
        dialect=counts.most_common(1)[0][0],
        pairs=tuple(pairs),
        unpaired=tuple(sorted(name for pair in sides.values() if len(pair) == 1 for name in pair.values())),
        unsupported=tuple(unsupported),
        other=tuple(name for name in other if name not in unsupported),
        unknown=tuple(sorted({part.module for part in parts.values() if not part.known})),
        rslora=scaling.rslora,
        notes=tuple(_notes(len(pairs), counts, scaling, other)),
        problems=tuple(problems),
    )


def kinds_of(names: Collection[str], parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The kinds that are no product B A, by the names of all tensors, of which `parts` are factors."""
    found = list(kinds(name for name in names if name not in parts))
    for part in parts.values():
        if ("experts" in part.path or "base_layer" in part.path) and _EXPERTS.fullmatch(part.path):
            found.append(f"{EXPERTS} (target_parameters)")
        elif part.dialect == MLX and f"{part.path}.m" in names:
            found.append("DoRA")
    if not parts and any(name.endswith((".diff", ".diff_b")) for name in names):
        found.append("full differences (.diff)")
    return tuple(dict.fromkeys(found))


def _alphas(beside: Mapping[str, str], downs: Mapping[str, str], complete: Callable[[str], str]) -> dict[str, str]:
    """The tensor of the alpha of each module, under another wrapper too where no other module can be meant."""
    found = [(complete(module), name) for name, module in beside.items()]
    if any(module not in downs for module, _ in found):
        common = {name: module for module, name in loose_names(downs).items()}
        found = [(module if module in downs else common.get(loose(module), module), name) for module, name in found]
    return _by_module(found, "alpha")


def _factor_scale(name: str, entries: Mapping[str, TensorEntry]) -> str | None:
    """The tensor that the values of a quantised factor are multiplied with, None where there is none."""
    entry = entries[name]
    if entry.dtype not in QUANTISED:
        return None
    base = name.removesuffix(".weight")
    scale = next((base + ending for ending in _FACTOR_SCALES if base + ending in entries), None)
    if scale is None:
        if entry.dtype == "I8":
            raise LoraPerfError(
                expected=f"a scale for the int8 values of {name}, such as {base}{_FACTOR_SCALES[0]}",
                found="none",
                fix="leave the adapter out, or save it as floats with the program that quantised it",
            )
        return None
    if prod(entries[scale].shape) not in (1, entry.shape[0]):
        raise LoraPerfError(
            expected=f"one number in {scale}, or one for each of the {entry.shape[0]} rows of {name}",
            found=f"shape {entries[scale].shape}",
            fix="leave the adapter out, or save it as floats with the program that quantised it",
        )
    return scale


def _multiplies(name: str, stems: set[str]) -> bool:
    """Whether a tensor looks like a number that the update of a module is multiplied with."""
    return any(name.endswith(ending) and parse_alpha(name.removesuffix(ending) + ".alpha") in stems for ending in _MULTIPLIERS)


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
    if not entries:
        raise LoraPerfError(
            expected="the factors of a LoRA",
            found="no tensor, as where ZeRO-3 of DeepSpeed spread the weights over processes, or nothing was trained",
            fix="save the adapter again with the weights gathered (stage3_gather_16bit_weights_on_model_save)",
        )
    unread = sorted(name for name in entries if is_part(name))
    if unread:
        raise LoraPerfError(
            expected="a down and an up of at least one module, in a spelling that is known",
            found=f"{UNREAD}{listed(unread, 3)}",
            fix="leave the adapter out, or convert it to a plain LoRA with the program that trained it",
        )
    raise LoraPerfError(
        expected="tensors that are factors of a LoRA (lora.down / lora.up, lora_down / lora_up, lora_A / lora_B)",
        found=f"none among {listed(sorted(entries), 3)}",
        fix="check that the file is a LoRA adapter, not a whole model",
    )


def _notes(total: int, counts: Counter[str], scaling: Scaling, other: list[str]) -> Iterable[str]:
    """What a reader of the adapter should know besides its pairs."""
    if len(counts) > 1:
        yield "modules by dialect: " + ", ".join(f"{dialect} {count}" for dialect, count in counts.most_common())
    yield from scaling.notes(total)
    for ending, what in EXTRAS.items():
        lost = [name for name in other if name.endswith(ending)]
        if lost:
            yield f"left out, since {what} is no product B A: {listed(lost, 3)}"
