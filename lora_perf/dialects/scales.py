"""The scale of each module by a LoraConfig: PEFT's `adapter_config.json`, or the copy that diffusers writes into the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, sqrt
from typing import Any, TypeVar

from lora_perf.dialects.kinds import config_kinds, refuse
from lora_perf.errors import LoraPerfError

Number = TypeVar("Number", int, float)

METADATA_KEY = "lora_adapter_metadata"
# What PEFT takes for a key that the configuration leaves out.
_DEFAULT = 8
# The initialisations that also change the weights of the base model, by the beginning of their names.
_RESIDUAL = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Rank and alpha of the modules of one model: a default and what patterns of module names change of it."""

    where: str
    rank: int
    alpha: float
    ranks: tuple[tuple[re.Pattern[str], int], ...]
    alphas: tuple[tuple[re.Pattern[str], float], ...]
    rslora: bool
    notes: tuple[str, ...]

    def scale(self, path: str, rank: int) -> float:
        """s of the module `path` (its name within its model) whose factors have this rank: alpha / r, or alpha / sqrt(r).

        Raises:
            LoraPerfError: the configuration gives the module another rank.
        """
        configured = _first(self.ranks, path, self.rank)
        if configured != rank:
            raise LoraPerfError(
                expected=f"factors of rank {configured} for {path}, by {self.where}",
                found=f"rank {rank} in the file",
                fix="give the adapter the configuration that it was saved with",
            )
        alpha = _first(self.alphas, path, self.alpha)
        return alpha / sqrt(rank) if self.rslora else alpha / rank


def read_recipe(config: object, where: str) -> Recipe:
    """The recipe of a LoraConfig as a dictionary.

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
    residual = isinstance(start, str) and start.lower().startswith(_RESIDUAL)
    return Recipe(
        where=where,
        rank=_rank(config.get("r", _DEFAULT), f"r of {where}"),
        alpha=_alpha(config.get("lora_alpha", _DEFAULT), f"lora_alpha of {where}"),
        ranks=tuple((key, _rank(value, place)) for key, value, place in _patterns(config, "rank_pattern", where)),
        alphas=tuple((key, _alpha(value, place)) for key, value, place in _patterns(config, "alpha_pattern", where)),
        rslora=bool(rslora),
        notes=(f"{where}: init_lora_weights {start!r} also changed the base model, so dW is relative to that",)
        if residual
        else (),
    )


def read_metadata(metadata: Mapping[str, str]) -> dict[str, Recipe]:
    """The recipes that diffusers wrote into the header of a file, by the component of the pipeline, "" for a model of its own.

    Raises:
        LoraPerfError: the entry is no JSON object, or holds what `read_recipe` refuses.
    """
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
    return {component: read_recipe(config, _place(component)) for component, config in told.items()}


def _place(component: str) -> str:
    return f"{METADATA_KEY} of {component}" if component else METADATA_KEY


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


def _first(patterns: tuple[tuple[re.Pattern[str], Number], ...], path: str, default: Number) -> Number:
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
