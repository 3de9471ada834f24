"""The scale of each module of one file: all statements side by side, which must agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import isclose

from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.io.dialects.names import Part
from lora_perf.io.dialects.scales import MlxRecipe, Place, Recipe, read_config
from lora_perf.io.dialects.schema import Claim
from lora_perf.io.dialects.statements import Statements, check_ranks, read_statements

CONFIG = "adapter_config.json"
# What is missing where a dialect that always states its scales does not: then s = 1 is an assumption, and said.
_STATED = {"peft": f"no {CONFIG}", "mlx": f"no {CONFIG}", "kohya": "no alpha", "loralib": "no alpha"}
# Statements are texts of a few digits, of numbers that were divided by a rank.
_ROUNDING = 1e-4


class Scaling:
    """The statements that a file, its metadata and its configuration make; `unclear` is what stands there instead of that."""

    def __init__(self, metadata: Mapping[str, str], config: object, unclear: str | None) -> None:
        self._stated: Statements = read_statements(metadata)
        self._config: Recipe | MlxRecipe | None = None if config is None else read_config(config, CONFIG)
        self._unclear = unclear
        self._assumed: Counter[str] = Counter()
        self._folded: Counter[str] = Counter()
        self._components: set[str] = set()
        self._problems: dict[str, None] = dict.fromkeys(self._stated.problems)
        self._by_kohya = 0
        stated = self._stated
        self._silent = not (stated.recipes or stated.others or stated.kohya or stated.ranks or unclear or self._config)

    @property
    def rslora(self) -> bool:
        """Whether a scale is alpha / sqrt(r)."""
        recipes = [*self._stated.recipes.values(), *([self._config] if self._config else [])]
        return any(recipe.rslora for recipe in recipes) or any(getattr(one, "rslora", False) for one in self._stated.others)

    @property
    def assumed(self) -> int:
        """Of how many modules s = 1 because nothing says another."""
        return sum(self._assumed.values())

    def scale(self, part: Part, module: str, rank: int, conv: bool) -> float:
        """s of a module without a tensor of its alpha; 1 where nothing is stated."""
        if self._silent:
            self._assumed[part.dialect] += 1
            return 1.0
        place, kohya = Place(module, part.path, rank, conv), self._stated.kohya
        found = list(self._binding(place))
        for where, scale in found[1:]:
            if not isclose(scale, found[0][1], rel_tol=_ROUNDING):
                raise LoraPerfError(
                    expected=f"one scale for {module}",
                    found=f"{found[0][1]:g} by {found[0][0]}, {scale:g} by {where}",
                    fix="remove the statement that is wrong",
                )
        if found:
            if kohya and not kohya.agrees(place, found[0][1], _ROUNDING):
                self._problems[f"{kohya.where} in the metadata, but {found[0][0]} gives other scales and counts"] = None
            return found[0][1]
        if kohya and part.dialect == "kohya":
            self._by_kohya += 1
            return kohya.scale(place)
        if self._unclear:
            raise LoraPerfError(
                expected=f"the one adapter beside {CONFIG}, or its scales in the file itself",
                found=self._unclear,
                fix="give each adapter a folder of its own with its configuration",
            )
        if kohya and not kohya.agrees(place, 1.0, _ROUNDING):
            self._folded[part.dialect] += 1
        else:
            self._assumed[part.dialect] += 1
        self._ranks(place)
        return 1.0

    def claims(self, part: Part, module: str, rank: int, conv: bool) -> tuple[Claim, ...]:
        """What is stated of the scale of a module that has a tensor of its alpha."""
        if self._silent:
            return ()
        place, kohya = Place(module, part.path, rank, conv), self._stated.kohya
        claims = [Claim(where, scale, None, binding=True) for where, scale in self._binding(place)]
        if kohya and not kohya.varied:
            one, *other = kohya.scales(place)
            claims.append(Claim(f"{kohya.where} in the metadata", one, other[0] if other else None, binding=False))
        self._ranks(place)
        return tuple(claims)

    def notes(self, total: int) -> Iterable[str]:
        """What a reader should know of the scales of `total` modules."""
        for dialect, count in sorted(self._assumed.items()):
            missing = _STATED.get(dialect) or ("no scale in the metadata" if self._stated.recipes else None)
            if missing:
                yield f"{missing}: scale taken as 1 for {count} of {total} modules"
        if self._by_kohya and self._stated.kohya:
            yield f"no alpha: scale by {self._stated.kohya.where} for {self._by_kohya} of {total} modules"
        for recipe in (*self._stated.recipes.values(), *([self._config] if self._config else [])):
            yield from recipe.notes

    def problems(self) -> Iterable[str]:
        """What is stated and not used."""
        yield from self._problems
        for dialect, count in sorted(self._folded.items()):
            where = self._stated.kohya.where if self._stated.kohya else ""
            folded = f"taken as folded into the factors, so that the scale is 1 for {count} modules"
            yield f"{where} in the metadata, but names of {dialect} and no alpha: {folded}"
        unused = sorted(self._stated.recipes.keys() - self._components)
        if unused:
            yield f"the metadata state a scale for {listed(map(repr, unused))}, of which there is no module"

    def _binding(self, place: Place) -> Iterable[tuple[str, float]]:
        """Where each statement about a module stands, and the scale by it."""
        component, _, _ = place.module.partition(".")
        if self._config is not None:
            yield self._config.where, self._config.scale(place)
        recipes = self._stated.recipes
        if component in recipes:
            self._components.add(component)
            path = place.path.removeprefix(f"{component}.")
            yield recipes[component].where, recipes[component].scale(Place(place.module, path, place.rank, place.conv))
        elif "" in recipes:
            self._components.add("")
            yield recipes[""].where, recipes[""].scale(place)
        for one in self._stated.others:
            scale = one.scale(place)
            if scale is not None:
                yield one.where, scale

    def _ranks(self, place: Place) -> None:
        """Notes a rank that the metadata state alone and that the factors do not have."""
        try:
            check_ranks(self._stated.ranks, place)
        except LoraPerfError as error:
            self._problems[f"{error.expected}; {error.found}"] = None
