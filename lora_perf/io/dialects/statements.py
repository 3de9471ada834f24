"""What the metadata of a file say of its scales: plain keys such as `lora_alpha`, kohya's `ss_network_alpha`, whole configs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isclose, isfinite, sqrt
from typing import Any

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.dialects.names import parse_alpha
from lora_perf.io.dialects.scales import METADATA_KEY, Place, Recipe, read_metadata, read_recipe
from lora_perf.io.dialects.wrappers import loose

_ALPHAS = ("alpha", "lora_alpha", "network_alpha")
_RANKS = ("r", "rank", "lora_r", "lora_rank", "lora_dim", "network_dim", "network_rank")
_RSLORA = ("use_rslora", "rslora")
# The alphas by module that diffusers calls so.
_PER_MODULE = "network_alphas"
_KOHYA_ALPHA, _KOHYA_RANK, _KOHYA_ARGS = "ss_network_alpha", "ss_network_dim", "ss_network_args"
_KNOWN = frozenset((METADATA_KEY, _PER_MODULE, _KOHYA_ALPHA, _KOHYA_RANK, _KOHYA_ARGS, *_ALPHAS, *_RANKS, *_RSLORA))
# Other keys that speak of a scale, which nothing defines.
_UNKNOWN = re.compile(r"(.*[._])?(alphas?|(lora_|network_)scal(e|ing)|scaling)")
# What programs write where they have no number: a default of theirs, or another for each module.
_NOTHING = frozenset(("", "none", "null", "dynamic", "auto"))

# Arguments of a network that give some modules their own rank or alpha, in kohya's programs and in LyCORIS.
_VARIED = re.compile(r"(^|_)(dims?|alphas?|pattern)$|^rs_?lora$")


def scale_entries(metadata: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The entries of the metadata that `read_statements` looks at: the others mean nothing to the reading of a file."""
    # A LoraConfig may stand as JSON under any key.
    found = [item for item in metadata.items() if _speaks(item[0]) or (item[1][:1] == "{" and '"lora_alpha"' in item[1])]
    return tuple(sorted(found))


@lru_cache(maxsize=4096)
def _speaks(key: str) -> bool:
    """Whether a key may speak of a scale. Files of one trainer share their keys."""
    return key.lower() in _KNOWN or _UNKNOWN.fullmatch(key.lower()) is not None


@dataclass(frozen=True, slots=True)
class Plain:
    """One alpha for all modules, and the ranks that stand beside it."""

    where: str
    alpha: float
    ranks: tuple[tuple[str, int], ...]
    rslora: bool

    def scale(self, place: Place) -> float:
        """s of a module."""
        check_ranks(self.ranks, place)
        return self.alpha / (sqrt(place.rank) if self.rslora else place.rank)


@dataclass(frozen=True, slots=True)
class PerModule:
    """Alphas by the common names of modules."""

    where: str
    alphas: Mapping[str, float]

    def scale(self, place: Place) -> float | None:
        alpha = self.alphas.get(loose(place.module))
        return None if alpha is None else alpha / place.rank


@dataclass(frozen=True, slots=True)
class Kohya:
    """kohya's defaults: what its command line had, from which modules may differ (`conv_dim`, ranks by block, resizing)."""

    alpha: float
    rank: int | None
    conv: tuple[float, int | None] | None
    """(alpha, rank) of convolutions with a kernel, where the arguments of the network give them."""
    varied: bool
    """Whether the arguments give other modules their own alphas or ranks too."""

    @property
    def where(self) -> str:
        return f"{_KOHYA_ALPHA} = {self.alpha:g}" + (f" and {_KOHYA_RANK} = {self.rank}" if self.rank is not None else "")

    def scale(self, place: Place) -> float:
        """s of a module without a tensor of its alpha."""
        if self.varied:
            raise LoraPerfError(
                expected=f"a tensor of the alpha of {place.module}, since {_KOHYA_ARGS} give modules ranks or alphas",
                found="none",
                fix="give the adapter its alphas, or leave it out",
            )
        alpha, rank = self.conv if place.conv and self.conv else (self.alpha, self.rank)
        check_ranks([(f"{_KOHYA_RANK} or conv_dim of {_KOHYA_ARGS}", rank)] if rank is not None else [], place)
        return alpha / place.rank

    def scales(self, place: Place) -> tuple[float, ...]:
        """What a module's scale may be by these: a resized file keeps the default scale, another one the default alpha."""
        alpha, rank = self.conv if place.conv and self.conv else (self.alpha, self.rank)
        return (alpha / place.rank, alpha / rank) if rank and rank != place.rank else (alpha / place.rank,)

    def agrees(self, place: Place, scale: float, tolerance: float) -> bool:
        """Whether a scale is one that a module may have."""
        return self.varied or any(isclose(scale, one, rel_tol=tolerance) for one in self.scales(place))


@dataclass(frozen=True, slots=True)
class Statements:
    """All that the metadata state.

    Attributes:
        recipes: what diffusers wrote, by component.
        others: what must agree with every other statement.
        kohya: kohya's defaults.
        ranks: ranks without an alpha beside them.
        problems: entries that speak of a scale and say nothing that can be used.
    """

    recipes: Mapping[str, Recipe]
    others: tuple[Plain | PerModule | Recipe, ...]
    kohya: Kohya | None
    ranks: tuple[tuple[str, int], ...]
    problems: tuple[str, ...]


def check_ranks(ranks: Iterable[tuple[str, int]], place: Place) -> None:
    """Refuses a rank that is stated and that the factors of the module do not have."""
    for where, rank in ranks:
        if rank != place.rank:
            raise LoraPerfError(
                expected=f"factors of rank {rank} for {place.module}, by {where} in the metadata",
                found=f"rank {place.rank} in the file",
                fix="correct or remove the entry of the metadata, or save the adapter again",
            )


def read_statements(metadata: Mapping[str, str]) -> Statements:
    """Every statement of a scale in the metadata of a file."""
    problems: list[str] = []
    found = {key.lower(): value for key, value in scale_entries(metadata)}
    numbers = {key: number for key in (*_ALPHAS, *_RANKS) if (number := _number(key, found, problems)) is not None}
    ranks = tuple((key, int(numbers[key])) for key in _RANKS if key in numbers and numbers[key] == int(numbers[key]))
    rslora = any(found.get(key, "").strip().lower() in ("true", "1") for key in _RSLORA)
    others: list[Plain | PerModule | Recipe] = [
        Plain(f"{key} = {numbers[key]:g} in the metadata", numbers[key], ranks, rslora) for key in _ALPHAS if key in numbers
    ]
    unknown = []
    for key, text in found.items():
        config = None if key in _KNOWN else _json(text)
        if isinstance(config, Mapping) and "lora_alpha" in config:
            others.append(_of_training(config, key) or read_recipe(config, f"{key} of the metadata"))
        elif key not in _KNOWN:
            unknown.append(key)
    if _PER_MODULE in found:
        per_module = _per_module(_json(found[_PER_MODULE]))
        if per_module is None:
            problems.append(f"{_PER_MODULE} of the metadata are no numbers by module and count for nothing")
        else:
            others.append(per_module)
    if unknown:
        problems.append(f"entries of the metadata that speak of a scale and count for nothing: {listed(unknown, 3)}")
    return Statements(read_metadata(metadata), tuple(others), _kohya(found, problems), () if others else ranks, tuple(problems))


def _of_training(config: Mapping[str, Any], entry: str) -> Plain | None:
    """The alpha in the settings of a trainer, which name the rank otherwise than a LoraConfig; None for anything else."""
    alpha = config["lora_alpha"]
    ranks = tuple((f"{key} of {entry}", config[key]) for key in _RANKS if key != "r" and isinstance(config.get(key), int))
    if not ranks or "r" in config or not isinstance(alpha, int | float) or not isfinite(alpha):
        return None
    return Plain(f"lora_alpha of {entry} in the metadata", float(alpha), ranks, any(config.get(key) is True for key in _RSLORA))


def _number(key: str, found: Mapping[str, str], problems: list[str]) -> float | None:
    text = found.get(key, "").strip()
    if text.lower() in _NOTHING:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if isfinite(number):
        return number
    problems.append(f"{key} of the metadata is no number and counts for nothing: {text[:40]!r}")
    return None


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _per_module(entries: Any) -> PerModule | None:
    if not isinstance(entries, Mapping):
        return None
    alphas = {}
    for name, value in entries.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            return None
        alphas[loose(parse_alpha(name) or name)] = float(value)
    return PerModule(f"{_PER_MODULE} of the metadata", alphas)


def _kohya(found: Mapping[str, str], problems: list[str]) -> Kohya | None:
    """The defaults, None where there are none."""
    alpha, rank = (_number(key, found, problems) for key in (_KOHYA_ALPHA, _KOHYA_RANK))
    if alpha is None:
        return None
    whole = int(rank) if rank is not None and rank == int(rank) and rank > 0 else None
    args = _json(found.get(_KOHYA_ARGS))
    if not isinstance(args, Mapping):
        return Kohya(alpha, whole, None, varied=False)
    others = [key for key in args if _VARIED.search(key) and key not in ("conv_dim", "conv_alpha")]
    varied = any(str(args[key]).strip().lower() not in (*_NOTHING, "false", "0") for key in others)
    conv_rank, conv_alpha = (_argument(args.get(key)) for key in ("conv_dim", "conv_alpha"))
    if conv_rank:
        # Without a conv_alpha kohya takes 1.
        return Kohya(alpha, whole, (1.0 if conv_alpha is None else conv_alpha, int(conv_rank)), varied)
    return Kohya(alpha, whole, None if conv_alpha is None else (conv_alpha, whole), varied)


def _argument(value: Any) -> float | None:
    """A number among the arguments of a network, which kohya writes as texts."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None
