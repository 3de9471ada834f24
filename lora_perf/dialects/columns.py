"""The columns of a table that hold adapters: which are factors, which hold the alphas of their modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lora_perf.dialects.kinds import kinds, refuse
from lora_perf.dialects.leftovers import is_part
from lora_perf.dialects.names import parse_alpha, parse_part
from lora_perf.dialects.wrappers import loose_names
from lora_perf.errors import LoraPerfError, listed
from lora_perf.names import Side, parse_factor


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns of a table mean.

    Attributes:
        factors: (column, side) in the order of the table.
        alphas: the column of the alpha of each module that has one, by the module's name in a `Layout` of the factors: there
            s = alpha / r.
        suspects: other columns whose names say that they are a part of a LoRA; where they hold matrices, they are one.
    """

    factors: tuple[tuple[str, Side], ...]
    alphas: Mapping[str, str]
    suspects: tuple[str, ...]


def read_columns(names: Iterable[str]) -> Columns:
    """The columns that hold weights, by the grammar of the names in files.

    Raises:
        LoraPerfError: a kind that is no product s B A; factors that stand transposed (MLX); an alpha of no module, or two for
            one. A table without any factor is none of them.
    """
    names = list(names)
    found = {name: factor for name in names if (factor := parse_factor(name)) is not None}
    transposed = [name for name, factor in found.items() if factor.transposed]
    if transposed:
        raise LoraPerfError(
            expected="columns of factors that are A (r, k) and B (m, r)",
            found=f"{listed(transposed, 3)}, which MLX stores transposed",
            fix="transpose them and name them <module>.lora_A.weight and <module>.lora_B.weight",
        )
    if not found:
        return Columns((), {}, ())
    rest = [name for name in names if name not in found]
    alphas = {name: module for name in rest if (module := parse_alpha(name)) is not None}
    refuse(kinds(name for name in rest if name not in alphas), "the names of the columns")
    stems: dict[str, str] = {}
    for name, factor in found.items():
        part = parse_part(name)
        stems[part.module if part else factor.stem] = factor.stem
    suspects = tuple(name for name in rest if name not in alphas and is_part(name))
    return Columns(tuple((name, factor.side) for name, factor in found.items()), _by_stem(alphas, stems), suspects)


def _by_stem(alphas: Mapping[str, str], stems: Mapping[str, str]) -> dict[str, str]:
    """The columns of alphas by the stems of their modules."""
    loosely = {key: module for module, key in loose_names(stems).items()}
    by_stem: dict[str, str] = {}
    for name, module in alphas.items():
        known = module if module in stems else loosely.get(loose_names([module])[module])
        if known is None:
            raise LoraPerfError(
                expected=f"the factors of the module {module}, whose alpha is a column",
                found="none",
                fix=f"remove the column {name}",
            )
        if stems[known] in by_stem:
            raise LoraPerfError(
                expected=f"one alpha for the module {known}",
                found=f"two: {by_stem[stems[known]]} and {name}",
                fix="remove one of the two columns",
            )
        by_stem[stems[known]] = name
    return by_stem
