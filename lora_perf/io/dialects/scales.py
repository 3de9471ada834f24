"""The scale of each module by a LoraConfig: PEFT's `adapter_config.json`, or the copy that diffusers writes into the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Any, TypeVar

from lora_perf.core.errors import LoraPerfError
from lora_perf.io.dialects.kinds import config_kinds, mlx_kinds, refuse

Number = TypeVar("Number", int, float)
Default = TypeVar("Default", int, float, None)

METADATA_KEY = "lora_adapter_metadata"
# What PEFT takes for a key that the configuration leaves out.
_DEFAULT = 8
# The initialisations that also change the weights of the base model, by the beginning of their names.
_RESIDUAL = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class Place:
    """A module as statements of scales see it.

    Attributes:
        module: its canonical name.
        path: its name within its model, as the patterns of a configuration see it.
        rank: of its factors.
        conv: whether it is a convolution with a kernel.
    """

    module: str
    path: str
    rank: int
    conv: bool


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rank and alpha of the modules of one model: a default and what patterns of module names change of it."""

    where: str
    rank: int
    alpha: float
    ranks: tuple[tuple[re.Pattern[str], int], ...]
    alphas: tuple[tuple[re.Pattern[str], float], ...]
    rslora: bool
    ranked: bool
    """Whether the configuration states its rank: else it is PEFT's default."""
    notes: tuple[str, ...]

    def scale(self, place: Place) -> float:
        """s of a module: alpha / r, or alpha / sqrt(r)."""
        rank = _first(self.ranks, place.path, None)
        configured = self.rank if rank is None else rank
        if configured != place.rank:
            default = (
                "" if self.ranked or rank is not None else f", which has no r, so that PEFT's default of {_DEFAULT} counts"
            )
            raise LoraPerfError(
                expected=f"factors of rank {configured} for {place.path}, by {self.where}{default}",
                found=f"rank {place.rank} in the file",
                fix="give the adapter the configuration that it was saved with",
            )
        alpha = _first(self.alphas, place.path, self.alpha)
        return alpha / sqrt(place.rank) if self.rslora else alpha / place.rank


@dataclass(frozen=True, slots=True)
class MlxRecipe:
    """Scale and rank of all modules by the configuration of mlx-lm, whose scale is s itself."""

    where: str
    factor: float
    rank: int | None
    rslora: bool = False
    notes: tuple[str, ...] = ()

    def scale(self, place: Place) -> float:
        """s of a module."""
        if self.rank not in (None, place.rank):
            raise LoraPerfError(
                expected=f"factors of rank {self.rank} for {place.path}, by lora_parameters of {self.where}",
                found=f"rank {place.rank} in the file",
                fix="give the adapter the configuration that it was saved with",
            )
        return self.factor


def is_mlx(config: object) -> bool:
    """Whether a configuration is one of mlx-lm, which lies beside every checkpoint of a run."""
    return isinstance(config, Mapping) and not config.keys().isdisjoint(("lora_parameters", "fine_tune_type"))


def read_config(config: object, where: str) -> Recipe | MlxRecipe:
    """The recipe of an `adapter_config.json`, of PEFT or of mlx-lm."""
    if not isinstance(config, Mapping) or not is_mlx(config):
        return read_recipe(config, where)
    refuse(mlx_kinds(config), where)
    parameters = config.get("lora_parameters")
    if not isinstance(parameters, Mapping) or "scale" not in parameters:
        raise _bad(f"lora_parameters of {where}", "an object with a scale", parameters)
    rank = parameters.get("rank")
    return MlxRecipe(
        where,
        _alpha(parameters["scale"], f"scale in lora_parameters of {where}"),
        None if rank is None else _rank(rank, f"rank in lora_parameters of {where}"),
    )


def read_recipe(config: object, where: str) -> Recipe:
    """The recipe of a LoraConfig as a dictionary; `rank` and `alpha` count where `r` and `lora_alpha` are missing.

    A pattern names a module as PEFT takes it: a regular expression of the whole dotted name or of its last components; the
    first that fits counts.

    Raises:
        LoraPerfError: a kind of adapter that is no product s B A, or a value of a wrong type; the key is named.
    """
    if not isinstance(config, Mapping):
        raise _bad(where, "a JSON object", config)
    refuse(config_kinds(config), where)
    rslora = config.get("use_rslora", False)
    if not isinstance(rslora, bool | None):
        raise _bad(f"use_rslora of {where}", "true or false", rslora)
    start = config.get("init_lora_weights")
    notes = []
    if isinstance(start, str) and start.lower().startswith(_RESIDUAL):
        notes.append(f"{where}: init_lora_weights {start!r} also changed the base model, so dW is relative to that")
    rank_key, alpha_key = ("r" if "r" in config else "rank"), ("lora_alpha" if "lora_alpha" in config else "alpha")
    if alpha_key not in config:
        notes.append(f"{where} has no lora_alpha: PEFT's default of {_DEFAULT} counts")
    return Recipe(
        where=where,
        rank=_rank(config.get(rank_key, _DEFAULT), f"{rank_key} of {where}"),
        alpha=_alpha(config.get(alpha_key, _DEFAULT), f"{alpha_key} of {where}"),
        ranks=tuple((key, _rank(value, place)) for key, value, place in _patterns(config, "rank_pattern", where)),
        alphas=tuple((key, _alpha(value, place)) for key, value, place in _patterns(config, "alpha_pattern", where)),
        rslora=bool(rslora),
        ranked=rank_key in config,
        notes=tuple(notes),
    )


def read_metadata(metadata: Mapping[str, str]) -> dict[str, Recipe]:
    """The recipes that diffusers wrote into the header of a file, by component of the pipeline, "" for a model of its own."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        return {}
    try:
        entries = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise _bad(METADATA_KEY, "JSON", text) from None
    if not isinstance(entries, dict):
        raise _bad(METADATA_KEY, "a JSON object", entries)
    configs: dict[str, dict[str, Any]] = {}
    for key, value in entries.items():
        # The keys of a LoraConfig hold no dot; before it stands the component.
        component, _, option = key.rpartition(".")
        configs.setdefault(component, {})[option] = value
    # Entries that say nothing of a scale are no configuration of an adapter.
    told = {component: config for component, config in configs.items() if config.keys() & {"r", "lora_alpha"}}
    places = {component: f"{METADATA_KEY} of {component}" if component else METADATA_KEY for component in told}
    return {component: read_recipe(config, places[component]) for component, config in told.items()}


def _patterns(config: Mapping[str, Any], key: str, where: str) -> list[tuple[re.Pattern[str], Any, str]]:
    """The patterns of one key with their values and, for messages, their places."""
    patterns = config.get(key) or {}
    if not isinstance(patterns, Mapping):
        raise _bad(f"{key} of {where}", "an object of module names and numbers", patterns)
    found = []
    for name, value in patterns.items():
        place = f"{key}[{name!r}] of {where}"
        try:
            found.append((re.compile(rf"(.*\.)?({name})$"), value, place))
        except (re.error, RecursionError, OverflowError):
            raise _bad(place, "a regular expression of module names", name) from None
    return found


def _first(patterns: tuple[tuple[re.Pattern[str], Number], ...], path: str, default: Default) -> Number | Default:
    return next((value for pattern, value in patterns if pattern.match(path)), default)


def _rank(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _bad(where, "a whole number of at least 1", value)
    return value


def _alpha(value: object, where: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            alpha = float(value)
        except OverflowError:
            alpha = inf
        if isfinite(alpha):
            return alpha
    raise _bad(where, "a finite number", value)


def _bad(where: str, expected: str, found: object) -> LoraPerfError:
    return LoraPerfError(
        expected=f"{expected} as {where}",
        found=f"{str(found)[:60]!r}" if isinstance(found, str) else f"{type(found).__name__} {str(found)[:60]}",
        fix="repair the configuration, or save the adapter again with the library that made it",
    )
