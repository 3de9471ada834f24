"""The audit itself: what features and classifiers make of adapters that are written in other gauges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lora_perf.audit import pages
from lora_perf.audit.config import AuditConfig
from lora_perf.audit.gauges import GAUGES
from lora_perf.audit.movement import STILL, Extent, Movement, Ruler, extent, short
from lora_perf.audit.rows import rounding, with_gauges
from lora_perf.classifiers import CLASSIFIERS, Examples, Setup, fitted
from lora_perf.classifiers.metrics import Estimate, PairedDifference, accuracy, paired_difference
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.features import Features
from lora_perf.core.layout import Layer
from lora_perf.core.profiling import stage
from lora_perf.core.provenance import machine, versions
from lora_perf.core.settings import Progress, counting, silent
from lora_perf.core.split import Split, make_split, refuse_unlearnable
from lora_perf.core.tables import page
from lora_perf.core.text import LONGEST, counted, printable
from lora_perf.core.zoo import Zoo
from lora_perf.representations import REPRESENTATIONS, count, expand, refuse_ranks
from lora_perf.representations.streaming import represent

if TYPE_CHECKING:
    import pandas


Tell = Callable[[str], object]


@dataclass(frozen=True)
class Reading:
    """What one classifier makes of a representation.

    Attributes:
        original: accuracy on the test adapters as they are.
        after, drop: by gauge, the accuracy on the same adapters and what is lost, paired.
    """

    classifier: str
    original: Estimate
    after: dict[str, Estimate]
    drop: dict[str, PairedDifference]


@dataclass(frozen=True)
class Audited:
    """One representation: its features, those of them that are constant on the train rows, movements by gauge, classifiers."""

    name: str
    features: int
    constant: int
    movements: dict[str, Movement]
    readings: list[Reading]

    @property
    def still(self) -> bool:
        """Whether no adapter's features moved by STILL or more in any gauge."""
        return all(one.relative.largest < STILL for one in self.movements.values())


@dataclass(frozen=True)
class Audit:
    """What an audit found, and what it depends on: `lora_perf.audit.run` makes it, notebooks show it.

    Attributes:
        rounding: by gauge, how far float32 factors alone moved dW, over the adapters.
        moved: how many adapters the movements are over.
        left_out: representations of the sets asked for that cannot be audited on this zoo, and why.

    >>> import lora_perf
    >>> found = lora_perf.audit.run("digits", representations=["dw_norms"], layers="attn1")
    >>> found.moved, found.labelled, sorted(set(found.to_frame()["gauge"]))
    (200, True, ['balanced', 'invertible', 'rescaled', 'signs'])
    """

    config: dict[str, Any]
    dataset: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, str | int]
    moved: int
    rounding: dict[str, Extent]
    representations: list[Audited]
    left_out: dict[str, str]

    @property
    def labelled(self) -> bool:
        """Whether the adapters have labels, so that classifiers were asked."""
        return bool(self.dataset["classes"])

    def to_frame(self) -> pandas.DataFrame:
        """A row for each representation, gauge and classifier: movements of the features, accuracies, what is lost."""
        import pandas as pd

        return pd.DataFrame(pages.rows(self))

    def to_html(self) -> str:
        """One page that needs no network: what was found, maps of movements and drops, settings; what audit.html holds."""
        from lora_perf.audit.html import html_page

        return html_page(self)

    def _repr_html_(self) -> str:
        """The tables of the command, as a piece of a page."""
        return page(f"Gauge audit of {self.dataset['name']}", pages.told(self), pages.tables(self))

    def __repr__(self) -> str:
        size = f"{self.moved:,} of {counted(self.dataset['adapters'], 'adapter')} moved in {len(GAUGES)} gauges"
        lines = [f"Gauge audit of {self.dataset['name']}: {size}", *(f"  {line}" for line in pages.verdict(self).split("; "))]
        return "\n".join(printable(line, LONGEST) for line in lines)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        record["gauges"] = {one.name: one.about for one in GAUGES.values()}
        record["still_below"] = STILL
        for plain, one in zip(record["representations"], self.representations, strict=True):
            plain["still"] = one.still
        return record


def audit(zoo: Zoo, config: AuditConfig, tell: Tell = lambda _: None, progress: Progress = silent) -> Audit:
    """Audits the representations of a zoo.

    Args:
        tell: called with a line about what comes next.
        progress: as `run` takes it.

    Cost: one pass over the zoo and over its adapters to be moved in each gauge; one fit a learned representation and one a
        classifier. Learned representations and `flat_vec` hold all these rows in memory.
    """
    layers = zoo.layout.group(config.layers)
    if zoo.labels is None:  # a single class is divided as all others would be, and nothing is learned of it
        split = make_split(torch.zeros(len(zoo), dtype=torch.int64), ["all"], zoo.split, seed=config.seed)
    else:
        split = make_split(zoo.labels, zoo.classes, zoo.split, seed=config.seed)
        refuse_unlearnable(zoo.labels, zoo.classes, split)
    names, left_out = _possible(zoo, layers, split, config)
    n = len(zoo)
    adapters = split.test if config.adapters == "test" else torch.arange(n)
    tell(f"{zoo.name}: {n:,} adapters, of which {len(adapters):,} are moved in {len(GAUGES)} gauges")
    if left_out:
        tell(f"left out, as they cannot be made of this zoo (audit.md says why): {', '.join(left_out)}")
    both = with_gauges(zoo, adapters, config.seed)
    audited = []
    for name, features in _features(both, names, layers, split, config, left_out, tell, progress):
        with stage(f"audit {name}"):
            audited.append(_audited(name, features, both, n, adapters, split, config, tell))
    return Audit(
        config={name: str(value) if isinstance(value, Path) else value for name, value in asdict(config).items()},
        dataset=_facts(zoo, split),
        versions=versions(),
        machine=machine(torch.device("cpu")),
        moved=len(adapters),
        rounding={name: extent(rounding(zoo, one, adapters, config.seed, layers)) for name, one in GAUGES.items()},
        representations=sorted(audited, key=lambda one: names.index(one.name)),
        left_out=left_out,
    )


def _possible(zoo: Zoo, layers: tuple[Layer, ...], split: Split, config: AuditConfig) -> tuple[tuple[str, ...], dict[str, str]]:
    """The representations to audit, and those of named sets that cannot be, with the reason."""
    if not any({module.up, module.down} & set(layers) for module in zoo.layout.modules):
        raise LoraPerfError(
            expected="layers of modules with both an up and a down, which a gauge changes together",
            found=f"none within {listed((layer.name for layer in layers), 2)}",
            fix="use a zoo with both factors",
        )
    names, left_out = [], {}
    first: LoraPerfError | None = None
    for name in expand(config.representations):
        try:
            _check(name, zoo, layers, split, config)
        except LoraPerfError as error:
            if name in config.representations:
                raise
            left_out[name] = _reason(error)
            first = first or error
        else:
            names.append(name)
    if first is not None and not names:
        raise first
    return tuple(names), left_out


def _reason(error: LoraPerfError) -> str:
    return f"expected {error.expected}; found {error.found}"


def _check(name: str, zoo: Zoo, layers: tuple[Layer, ...], split: Split, config: AuditConfig) -> None:
    """Refuses a representation that cannot be made of this zoo, or not be read by the classifiers."""
    refuse_ranks(zoo, [name])
    features = count(name, zoo.layout, layers)
    if features is not None:
        for classifier in CLASSIFIERS.resolve(config.classifiers):
            classifier.refuse(len(split.train), features)


def _features(
    both: Zoo,
    names: tuple[str, ...],
    layers: tuple[Layer, ...],
    split: Split,
    config: AuditConfig,
    left_out: dict[str, str],
    tell: Tell,
    progress: Progress,
) -> Iterator[tuple[str, Features]]:
    """The features of all rows: computed in one pass, then learned ones, which are fitted on the train rows as they are.

    Of a set, those that cannot be fitted to so few rows are left out beside computed ones.
    """
    computed = [name for name in names if REPRESENTATIONS[name].streamed]
    if computed:
        tell(f"one pass for {', '.join(computed)}")
        with stage("represent"):
            found = represent(both, computed, layers=layers, progress=counting(progress, "represent", len(both)))
        for name in computed:
            yield name, found.pop(name)
    for name in names:
        if name not in computed:
            tell(f"fitting {name} to the train adapters")
            try:
                with stage(f"fit {name}"):
                    features = represent(both, [name], layers=layers, train=split, seed=config.seed)[name]
            except LoraPerfError as error:
                if name in config.representations or not computed:
                    raise
                left_out[name] = _reason(error)
                tell(f"left out: {name} ({left_out[name]})")
            else:
                yield name, features


def _audited(
    name: str, features: Features, both: Zoo, n: int, adapters: Tensor, split: Split, config: AuditConfig, tell: Tell
) -> Audited:
    ruler = Ruler(features.values, split.train, features.names)
    tops = {gauge: n + turn * len(adapters) for turn, gauge in enumerate(GAUGES)}
    movements = {gauge: ruler.measure(adapters, top + torch.arange(len(adapters))) for gauge, top in tops.items()}
    places = torch.full((n,), -1)
    places[adapters] = torch.arange(len(adapters))
    # The test rows as they are, then in each gauge: one fit answers for all of them.
    rows = torch.cat([split.test, *(top + places[split.test] for top in tops.values())])
    asked = Split(split.train, split.validation, rows, split.kind, split.resubstitution)
    readings = []
    answered = [] if both.labels is None else _answers(features, both.labels, len(both.classes), asked, config)
    for classifier, answers in answered:
        truth = both.required_labels[split.test]
        correct = (answers.unflatten(1, (-1, len(truth))) == truth).numpy()  # (s, 1 + gauges, test)
        original, *others = (correct[:, turn] for turn in range(correct.shape[1]))
        after = dict(zip(GAUGES, others, strict=True))
        readings.append(
            Reading(
                classifier,
                accuracy(original),
                {gauge: accuracy(one) for gauge, one in after.items()},
                {gauge: paired_difference(original, one) for gauge, one in after.items()},
            )
        )
    said = ", ".join(f"{one.classifier} {one.original.mean:.3f}" for one in readings)
    farthest = max(one.relative.largest for one in movements.values())
    tell(f"{name}: moves by at most {short(farthest)}" + f"; accuracy {said}" * bool(said))
    return Audited(name, features.shape[1], ruler.constant, movements, readings)


def _answers(
    features: Features, labels: Tensor, n_classes: int, split: Split, config: AuditConfig
) -> Iterator[tuple[str, Tensor]]:
    """Predictions (s, rows) of the test rows by each classifier."""
    examples = Examples(features.matrix, split, torch.from_numpy(features.layers), features.factors)
    setup = Setup(range(config.seed, config.seed + config.num_runs), keep=False)
    for name in dict.fromkeys(config.classifiers):
        yield name, fitted(CLASSIFIERS[name], examples, labels, n_classes, setup).predictions


def _facts(zoo: Zoo, split: Split) -> dict[str, Any]:
    return {
        "name": zoo.name,
        "fingerprint": zoo.fingerprint,
        "adapters": len(zoo),
        "modules": len(zoo.layout.modules),
        "parameters": zoo.layout.p,
        "classes": list(zoo.classes),
        "split": split.kind,
        "train": len(split.train),
        "test": len(split.test),
        "resubstitution": split.resubstitution,
        "skipped": [{"path": one.path, "reason": one.reason} for one in zoo.skipped],
    }
