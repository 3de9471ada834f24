"""What an inspection says: findings, the facts of files and of module kinds, and all of it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lora_perf.core.tables import page
from lora_perf.core.text import LONGEST, counted, printable
from lora_perf.inspect import pages

if TYPE_CHECKING:
    import pandas

_TOLD = 3  # findings that the repr tells


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know: its kind, a sentence, and the adapters that it is about."""

    kind: str
    text: str
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the headers say: how many files there are of each dialect, dtype, number of modules and source of scales.

    Attributes:
        found: adapter files in the folder.
        opened: those that are adapters of this package's kinds.
        dialects: files by dialect.
        dtypes: files by the dtypes of their factors, "BF16 + F32" where one has several.
        modules: files by their number of modules.
        alphas: files of which a tensor gives the scale of at least one module.
        rslora: files whose scale is alpha / sqrt(r).
        pickles: files such as .bin and .pt, which are never opened.
    """

    found: int
    opened: int
    dialects: Mapping[str, int]
    dtypes: Mapping[str, int]
    modules: Mapping[int, int]
    alphas: int
    rslora: int
    pickles: int


@dataclass(frozen=True, slots=True)
class KindFacts:
    """The modules of one kind, such as attn1.to_q, over all adapters of the commonest set of modules.

    Attributes:
        name: the last two components of the modules' names.
        modules: how many there are in an adapter.
        ranks: modules of adapters by rank.
        scales: smallest, median and largest s of dW = s B A.
        norm: median Frobenius norm of dW of one module.
        zeros: updates that are 0, modules of adapters.
        cosine: of the A's of two adapters, mean over pairs and modules; None for fewer than two adapters.
    """

    name: str
    modules: int
    ranks: Mapping[int, int]
    scales: tuple[float, float, float]
    norm: float
    zeros: int
    cosine: float | None


@dataclass(frozen=True, slots=True)
class InitialA:
    """How A was initialised, by the cosines between the A's of different adapters.

    Attributes:
        verdict: "shared", "per adapter", "mixed", or "unknown" for fewer than two adapters.
        lowest, highest: mean pairwise cosine of a module, over the modules.
        related: share of the pairs of adapters whose A's are related, in a sample of adapters.
        sampled: adapters in that sample.
        meaning: what follows for a study.
    """

    verdict: Literal["shared", "per adapter", "mixed", "unknown"]
    lowest: float
    highest: float
    related: float
    sampled: int
    meaning: str


@dataclass(frozen=True, slots=True)
class RepeatFacts:
    """An adapter that repeats an earlier one.

    Attributes:
        adapter, of: the repetition and what it repeats.
        kind: "identical" (all factors), "same dW" (by other factors), or "near".
        cosine: of the two dW.
        distance: Frobenius norm of their difference over the larger norm.
        same_class: None where there are no classes.
    """

    adapter: str
    of: str
    kind: Literal["identical", "same dW", "near"]
    cosine: float
    distance: float
    same_class: bool | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The report of a collection of adapters: `lora_perf.inspect.run` makes it, notebooks show it.

    Attributes:
        name: of the collection.
        adapters: how many could be looked at.
        modules, parameters: of one adapter of the commonest set of modules, at its largest ranks.
        near: the cosine from which two updates count as near.
        files: None where the collection is no folder of adapter files.
        classes: adapters by class; empty where there are none.
        split: adapters by part; empty where there is none.
        kinds, initial: of the commonest set of modules.
        repeats: adapters that repeat an earlier one.
        norms: Frobenius norm of dW, all modules together, of each adapter whose weights are numbers, by its name.
        effective_ranks: exponential of the entropy of the singular values of dW over their sum (Roy and Vetterli 2007), mean
            over the modules with dW != 0; by name, of at most 1,000 adapters that are evenly spread.
        problems: what is wrong; notes: what is worth knowing.
        seconds: by stage.
        config: the settings, with the source where it is a name; versions and machine: what computed. Two inspections that
            found the same are equal whatever these are.

    >>> import lora_perf, torch
    >>> layers = {"a.lora.down.weight": torch.ones(2, 1, 3), "a.lora.up.weight": torch.zeros(2, 3, 1)}
    >>> found = lora_perf.inspect.run(lora_perf.Zoo.from_tensors(layers, names=["x", "y"]))
    >>> [one.kind for one in found.findings], found.to_frame()["adapters"][0]
    (['zero', 'identical'], ('x', 'y'))
    """

    name: str
    adapters: int
    modules: int
    parameters: int
    near: float
    files: FileFacts | None
    classes: Mapping[str, int]
    split: Mapping[str, int]
    kinds: tuple[KindFacts, ...]
    initial: InitialA | None
    repeats: tuple[RepeatFacts, ...]
    norms: Mapping[str, float]
    effective_ranks: Mapping[str, float]
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    seconds: Mapping[str, float]
    config: Mapping[str, Any] = field(compare=False)
    versions: Mapping[str, str] = field(compare=False)
    machine: Mapping[str, str | int] = field(compare=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that a person should know: what is wrong, then what is worth knowing."""
        return self.problems + self.notes

    def to_json(self) -> dict[str, Any]:
        """All that was found, of values that JSON can hold."""
        return asdict(self)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each finding: whether it is a problem, its kind, its sentence, the names of the adapters."""
        import pandas as pd

        rows = [(one in self.problems, one.kind, one.text, one.adapters) for one in self.findings]
        return pd.DataFrame(rows, columns=["problem", "kind", "text", "adapters"])

    def to_html(self) -> str:
        """One page that needs no network: what was found, figures, tables, settings; what inspect.html holds."""
        from lora_perf.inspect.html import html_page

        return html_page(self)

    def _repr_html_(self) -> str:
        """The tables of the command, as a piece of a page."""
        return page(f"Inspection of {self.name}", [pages.verdict(self)], pages.tables(self))

    def __repr__(self) -> str:
        told = [one.text for one in self.findings[:_TOLD]]
        told += [f"and {len(self.findings) - _TOLD} more: see findings"] * (len(self.findings) > _TOLD)
        size = f"{counted(self.adapters, 'adapter')} of {counted(self.modules, 'module')}"
        lines = [f"Inspection of {self.name}: {size}", *(f"  {line}" for line in (pages.verdict(self), *told))]
        return "\n".join(printable(line, LONGEST) for line in lines)
