"""What the weights of zoos say, gathered zoo by zoo into one inspection."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from lora_perf.core.errors import listed
from lora_perf.core.layout import Module
from lora_perf.core.profiling import stage
from lora_perf.core.provenance import machine, versions
from lora_perf.core.settings import Progress, counting
from lora_perf.core.text import counted
from lora_perf.core.zoo import SPLIT_NAMES, Zoo
from lora_perf.inspect.findings import FileFacts, Finding, InitialA, Inspection, KindFacts, RepeatFacts
from lora_perf.inspect.initial import cosines_of_downs, initial_a
from lora_perf.representations.content import Content, content_of
from lora_perf.representations.repeats import Repeat, repeats_of

# Fewer adapters of a class cannot be divided into train, validation and test.
_FEW = 3
_TITLES = {
    "identical": "with the same factors and scales as an earlier one",
    "same dW": "with the same dW as an earlier one by other factors",
    "near": "with nearly the dW of an earlier one",
}


class Gathering:
    """Takes the zoos of one collection, the commonest set of modules first; class and part of each adapter by its name."""

    def __init__(
        self,
        name: str,
        classes: Mapping[str, str],
        split: Mapping[str, str],
        progress: Progress,
        config: Mapping[str, Any],
    ) -> None:
        self.problems: list[Finding] = []
        self.notes: list[Finding] = []
        self.seconds: dict[str, float] = {}
        self._name = name
        self._near: float = config["near"]
        self._classes = classes
        self._split = split
        self._progress = progress
        self._config = config
        self._adapters = 0
        self._size = (0, 0)
        self._kinds: tuple[KindFacts, ...] = ()
        self._initial: InitialA | None = None
        self._repeats: list[RepeatFacts] = []
        self._norms: dict[str, float] = {}
        self._effective: dict[str, float] = {}

    def take(self, zoo: Zoo, names: Sequence[str]) -> Content:
        """Looks at the weights of the adapters of a zoo; `names` are theirs. Returns what one pass found."""
        begin = time.perf_counter()
        with stage("read"):
            content = content_of(zoo, counting(self._progress, "read", len(zoo)), self._config["scheduler"], spectra=True)
        read = time.perf_counter()
        with stage("compare"):
            repeats = repeats_of(zoo, content, self._near)
        for name, spent in (("read", read - begin), ("compare", time.perf_counter() - read)):
            self.seconds[name] = self.seconds.get(name, 0) + spent
        self._repeats += [self._named(one, names) for one in repeats]
        self._norms |= _norms(content, names)
        self._effective |= _effective_ranks(content, names)
        self.problems += _without_number(zoo, content, names)
        self.problems += _without_update(zoo, content, names)
        self.notes += _without_some_updates(zoo, content, names)
        if self._adapters == 0:
            self._size = len(zoo.layout.modules), zoo.layout.p
            self._kinds = tuple(_kinds(zoo, content))
            self._initial = initial_a(zoo.layout, content, {one.second for one in repeats})
            if zoo.ranks is not None:
                low, high = int(zoo.ranks.min()), int(zoo.ranks.max())
                text = f"ranks differ, from {low} to {high}: representations of dW take them, those of the factors do not"
                self.notes.append(Finding("ranks", text))
        self._adapters += len(zoo)
        return content

    def inspection(self, files: FileFacts | None = None) -> Inspection:
        """All that was gathered."""
        classes = Counter(self._classes.values())
        parts = Counter(self._split.values())
        few = sorted(name for name, count in classes.items() if count < _FEW)
        notes = list(self.notes)
        if few:
            classes_of_few = f"{counted(len(few), 'class', 'classes')} of fewer than {_FEW} adapters"
            notes.append(Finding("classes", f"{classes_of_few}, too few for one in each part of a split: {listed(few, 3)}"))
        return Inspection(
            name=self._name,
            adapters=self._adapters,
            modules=self._size[0],
            parameters=self._size[1],
            near=self._near,
            files=files,
            classes=dict(classes.most_common()),
            split={part: count for part in SPLIT_NAMES if (count := parts[part])},
            kinds=self._kinds,
            initial=self._initial,
            repeats=tuple(self._repeats),
            norms=self._norms,
            effective_ranks=self._effective,
            problems=(*self.problems, *self._repeated()),
            notes=tuple(notes),
            seconds=self.seconds,
            config=self._config,
            versions=versions(),
            machine=machine(torch.device("cpu")),
        )

    def _named(self, one: Repeat, names: Sequence[str]) -> RepeatFacts:
        adapter, of = names[one.second], names[one.first]
        classes = [self._classes.get(name) for name in (adapter, of)]
        return RepeatFacts(
            adapter, of, one.kind, one.cosine, one.distance, None if None in classes else classes[0] == classes[1]
        )

    def _repeated(self) -> Iterable[Finding]:
        """One finding a kind of repetition."""
        for kind, title in _TITLES.items():
            some = [one for one in self._repeats if one.kind == kind]
            if not some:
                continue
            text = f"{counted(len(some), 'adapter')} {title}"
            if kind == "near":
                text += f" (cosine of at least {self._near:g})"
            text += f": {listed((f'{one.adapter} = {one.of}' for one in some), 3)}"
            other = sum(one.same_class is False for one in some)
            across = sum(self._split.get(one.adapter) != self._split.get(one.of) for one in some)
            text += f"; {other:,} of another class" * bool(other) + f"; {across:,} across parts of the split" * bool(across)
            yield Finding(kind, text, tuple(one.adapter for one in some))


def kind_of(module: Module) -> str:
    """The last two components of a module's name; three where the last is a number, as in attn1.to_out.0."""
    path = module.up.path
    return ".".join(path[-3:] if path[-1].isdecimal() else path[-2:])


def _norms(content: Content, names: Sequence[str]) -> dict[str, float]:
    """The norm of each whole update by the name of its adapter."""
    whole = torch.linalg.vector_norm(content.norms, dim=1)
    known = content.finite & torch.isfinite(whole)
    return {names[i]: float(whole[i]) for i in torch.nonzero(known)[:, 0].tolist()}


def _effective_ranks(content: Content, names: Sequence[str]) -> dict[str, float]:
    """The mean effective rank of the updates that are not 0, by the name of the adapter."""
    some = content.effective_ranks > 0
    means = content.effective_ranks.sum(dim=1) / some.sum(dim=1)
    sample = content.sample.tolist()
    return {names[sample[i]]: float(means[i]) for i in torch.nonzero(some.any(dim=1))[:, 0].tolist()}


def _without_number(zoo: Zoo, content: Content, names: Sequence[str]) -> Iterable[Finding]:
    """The adapters with NaN or infinite weights, and those that could not be read."""
    for i in torch.nonzero(~content.finite)[:, 0].tolist():
        if i in content.unread:
            yield Finding("unreadable", f"{names[i]}: {content.unread[i].found}", (names[i],))
            continue
        found = zoo.non_finite(i)
        text = " in ".join(found[0]) if found else "a scale that is NaN or infinite"
        yield Finding("non-finite", f"{names[i]}: {text}{f' and {len(found) - 1} more layers' * (len(found) > 1)}", (names[i],))


def _without_update(zoo: Zoo, content: Content, names: Sequence[str]) -> Iterable[Finding]:
    """The adapters that change nothing, by the cause."""
    modules = zoo.layout.modules
    if not modules:
        return
    causes: dict[str, list[str]] = {}
    for i in torch.nonzero(content.finite & (content.norms == 0).all(dim=1))[:, 0].tolist():
        row = zoo[i].row
        if not any(bool(row[module.up.columns].any()) for module in modules):
            cause = "every up (B) is 0, as before training"
        elif zoo.scales is not None and not bool(zoo.scales[i].any()):
            cause = "every scale s is 0"
        elif not any(bool(row[module.down.columns].any()) for module in modules):
            cause = "every down (A) is 0"
        else:
            cause = "every product s B A is 0"
        causes.setdefault(cause, []).append(names[i])
    for cause, found in causes.items():
        yield Finding("zero", f"{counted(len(found), 'adapter')} with dW = 0, since {cause}: {listed(found, 3)}", tuple(found))


def _without_some_updates(zoo: Zoo, content: Content, names: Sequence[str]) -> Iterable[Finding]:
    """The adapters that change some modules only."""
    zero = (content.norms == 0) & content.finite[:, None]
    some = zero.any(dim=1) & ~zero.all(dim=1)
    if bool(some.any()):
        modules = [zoo.layout.modules[j].name for j in torch.nonzero(zero[some].any(dim=0))[:, 0].tolist()]
        found = tuple(names[i] for i in torch.nonzero(some)[:, 0].tolist())
        count = counted(len(found), "adapter")
        text = f"{count} with dW = 0 in some modules: {listed(found, 3)}; the modules: {listed(modules, 3)}"
        yield Finding("zero modules", text, found)


def _kinds(zoo: Zoo, content: Content) -> Iterable[KindFacts]:
    modules = zoo.layout.modules
    of_kind: dict[str, list[int]] = {}
    for place, module in enumerate(modules):
        of_kind.setdefault(kind_of(module), []).append(place)
    cosines = cosines_of_downs(content.downs)
    for name, places in of_kind.items():
        if zoo.ranks is None:
            ranks = Counter[int]()
            for place in places:
                ranks[modules[place].rank] += len(zoo)
        else:
            ranks = Counter(zoo.ranks[:, places].flatten().tolist())
        scales = torch.ones(1) if zoo.scales is None else zoo.scales[:, places].flatten()
        scales = scales[torch.isfinite(scales)]
        norms = content.norms[content.finite][:, places].flatten()
        of_downs = cosines[places]
        of_downs = of_downs[~of_downs.isnan()]
        yield KindFacts(
            name=name,
            modules=len(places),
            ranks=dict(sorted(ranks.items())),
            scales=(float(scales.min()), float(scales.median()), float(scales.max())) if len(scales) else (0.0, 0.0, 0.0),
            norm=float(norms.median()) if len(norms) else 0.0,
            zeros=int((norms == 0).sum()),
            cosine=float(of_downs.mean()) if len(of_downs) else None,
        )
