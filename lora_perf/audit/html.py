"""An audit as one page that needs no network: what was found first, then maps of movements and drops, tables and settings."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING

from lora_perf.audit.gauges import GAUGES
from lora_perf.audit.movement import STILL, short
from lora_perf.audit.pages import NOTE, moved, warnings
from lora_perf.classifiers.metrics import PairedDifference
from lora_perf.core.charts import Shade, shades, side_by_side
from lora_perf.core.errors import listed
from lora_perf.core.pages import document, sortable, table, text
from lora_perf.core.text import counted
from lora_perf.report.comparisons import LEVEL, holm
from lora_perf.report.drawings import forest
from lora_perf.report.wording import format_p, with_interval, with_sign

if TYPE_CHECKING:
    from lora_perf.audit.study import Audit, Audited, Reading


@dataclass(frozen=True, slots=True)
class Lost:
    """What one classifier loses of one representation in one gauge; `holm`: its p after Holm's correction over all of them."""

    representation: str
    classifier: str
    gauge: str
    reading: Reading
    holm: float

    @property
    def drop(self) -> PairedDifference:
        return self.reading.drop[self.gauge]

    @property
    def stands(self) -> bool:
        """Whether it is a loss that stands after the correction."""
        return self.holm < LEVEL and self.drop.mean > 0


def html_page(found: Audit) -> str:
    """The page."""
    name = found.dataset["name"]
    losses = drops(found)
    parts = [
        f"<h1>{text(name)}: the same updates in other factors</h1>",
        f'<p class="quiet">{text(_about(found))}</p>',
        f'<p class="lead">{text(" ".join(told(found, losses)))}</p>',
        *(f"<p><strong>{text(one[0].upper() + one[1:])}.</strong></p>" for one in warnings(found)),
        *(f"<p>Left out: <code>{text(one)}</code> ({text(why)}).</p>" for one, why in found.left_out.items()),
        "<h2>What moves, and what is lost</h2>",
        side_by_side([_movements(found), *_maps(found, losses)]),
        "<p><small>Largest movement over the adapters, |f' - f| / |f| of a row of features; no shade: below "
        f"{STILL:g}. dW itself moves only because float32 factors cannot hold it exactly.</small></p>",
        *_worst(found, losses),
        "<h2>How far features move</h2>",
        f"<p><small>Over {counted(found.moved, 'adapter')}: relative; in standard deviations of the train adapters (sd), root "
        "mean square over the features; and by feature, over the adapters.</small></p>",
        sortable(moved(found)),
        *_every(losses),
        "<h2>The gauges</h2>",
        table(("gauge", "what it does"), [(one.name, one.about) for one in GAUGES.values()], kind="long"),
        "<h2>How it was made</h2>",
        f"<pre><code>{text(command(found))}</code></pre>",
        table(("", ""), [*_facts(found)]),
    ]
    return document(f"Gauge audit of {name}", parts)


def drops(found: Audit) -> list[Lost]:
    """What is lost by each representation, classifier and gauge, all corrected together; empty without labels."""
    cells = [
        (one.name, reading.classifier, gauge, reading)
        for one in found.representations
        for reading in one.readings
        for gauge in reading.drop
    ]
    corrected = holm([reading.drop[gauge].p for _, _, gauge, reading in cells])
    return [Lost(*cell, p) for cell, p in zip(cells, corrected, strict=True)]


def told(found: Audit, losses: list[Lost]) -> list[str]:
    """What was found, in three sentences made of the numbers (two without labels).

    Args:
        losses: those of `drops`.
    """
    still = [one for one in found.representations if one.still]
    moving = [one for one in found.representations if not one.still]
    total = counted(len(found.representations), "representation")
    if not moving:
        first = f"None of {total} moves when the same updates are written in other factors: all stay below {STILL:g}."
    else:
        far = max(moving, key=lambda one: _farthest(one)[1])
        gauge, most = _farthest(far)
        first = (
            f"Of {total} {len(moving)} {'moves' if len(moving) == 1 else 'move'} when the same updates are written in other "
            f"factors, {far.name} farthest: by {short(most)} of its own size in {gauge}."
        )
    floor = f"float32 factors alone move dW by up to {short(max(one.largest for one in found.rounding.values()))}"
    if still and moving:
        verb = "does" if len(still) == 1 else "do"
        rounding = f"{len(still)} of them {verb} not ({listed((one.name for one in still), 6)}): {floor}."
    else:
        rounding = f"{floor[0].upper()}{floor[1:]}."
    if not losses:
        return [first, rounding]
    return [first, _worst_loss(losses), _best_still(losses, still) or rounding]


def _worst_loss(losses: list[Lost]) -> str:
    worst = max(losses, key=lambda one: one.drop.mean)
    stand = sum(one.stands for one in losses)
    count = f"of {counted(len(losses), 'drop')} {stand:,} {'stands' if stand == 1 else 'stand'} after Holm's correction"
    if worst.drop.mean <= 0:
        return f"No classifier loses anything; {count}."
    d = worst.drop
    return (
        f"{worst.representation} read by {worst.classifier} loses most, {with_interval(d)} of "
        f"{worst.reading.original.mean:.3f} in {worst.gauge}; {count}."
    )


def _best_still(losses: list[Lost], still: list[Audited]) -> str:
    """The most accurate of those that do not move, beside the most accurate of all."""
    names = {one.name for one in still}
    among = [one for one in losses if one.representation in names]
    if not among:
        return ""
    best = max(among, key=lambda one: one.reading.original.mean)
    first = max(losses, key=lambda one: one.reading.original.mean)
    original = best.reading.original
    sentence = (
        f"Among those that do not move {best.representation} read by {best.classifier} is right most often, "
        f"{with_interval(original)}"
    )
    if first.reading.original.mean > original.mean:
        return f"{sentence}; {first.representation}, which moves, is at {first.reading.original.mean:.3f}."
    return f"{sentence}; none that moves is more often."


def command(found: Audit) -> str:
    """The command that makes this audit again; of a zoo in memory, the call."""
    config = found.config
    names = ("representations", "layers", "classifiers", "adapters", "num_runs", "seed", "label_column")
    if not config["dataset"]:
        given = ", ".join(f"{name}={list(v) if isinstance(v := config[name], tuple) else v!r}" for name in names)
        return f"lora_perf.audit.run(zoo, {given})"
    words = ["lora-perf", "audit", config["dataset"]]
    for name in names:
        value = config[name]
        values = value if isinstance(value, list | tuple) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join([*words, *["--skip-bad"] * config["skip_bad"]])


def _about(found: Audit) -> str:
    data = found.dataset
    classes = counted(len(data["classes"]), "class", "classes") if found.labelled else "no labels"
    return (
        f"{counted(data['adapters'], 'adapter')} of {counted(data['modules'], 'module')} and "
        f"{counted(data['parameters'], 'parameter')}, {classes}; {data['train']:,} train, {data['test']:,} test adapters "
        f"(split {data['split']}), layers {found.config['layers']}; "
        f"{found.moved:,} are written in {counted(len(GAUGES), 'other way')}."
    )


def _farthest(one: Audited) -> tuple[str, float]:
    """The gauge in which features move most, and how far."""
    return max(((gauge, movement.relative.largest) for gauge, movement in one.movements.items()), key=lambda pair: pair[1])


def _order(found: Audit) -> list[Audited]:
    """Those that move first, the farthest on top."""
    return sorted(found.representations, key=lambda one: (one.still, -_farthest(one)[1]))


def _movements(found: Audit) -> str:
    """The largest movements as a map, darker by their logarithm."""
    most = max([_farthest(one)[1] for one in found.representations] + [1.0])

    def cell(name: str, gauge: str, median: float, largest: float) -> Shade:
        depth = max(0.0, log10(largest / STILL) / log10(most / STILL)) if largest >= STILL else 0.0
        told = f"{name}, {gauge}: largest {short(largest)}, median {short(median)}"
        return Shade(short(largest), depth, told)

    rows = [
        (one.name, [cell(one.name, gauge, m.relative.median, m.relative.largest) for gauge, m in one.movements.items()])
        for one in _order(found)
    ]
    name = "dW, by rounding"
    rows.append((name, [cell(name, gauge, one.median, one.largest) for gauge, one in found.rounding.items()]))
    return shades(rows, [*GAUGES], "largest movement of features")


def _maps(found: Audit, losses: list[Lost]) -> Iterator[str]:
    """What is lost, a map a classifier: red a loss, blue a gain, bold where it stands after Holm's correction."""
    place = {one.name: at for at, one in enumerate(_order(found))}
    most = max((abs(one.drop.mean) for one in losses), default=0.0) or 1.0
    for classifier in dict.fromkeys(one.classifier for one in losses):
        rows: dict[str, list[Shade]] = {name: [] for name in place}
        for one in losses:
            if one.classifier == classifier:
                d = one.drop
                kind = "worst" if d.mean > 0 else "ours"
                rows[one.representation].append(
                    Shade(f"{d.mean:+.3f}" if d.mean else "0", abs(d.mean) / most, _said(one), kind, strong=one.holm < LEVEL)
                )
        yield shades([*rows.items()], [*GAUGES], f"accuracy lost by {classifier}")


def _said(one: Lost) -> str:
    d, before, after = one.drop, one.reading.original, one.reading.after[one.gauge]
    return (
        f"{one.representation}, {one.classifier}, {one.gauge}: {before.mean:.3f} as trained, {after.mean:.3f} in the gauge; "
        f"drop {with_sign(d)}, p {format_p(d.p)}, after Holm {format_p(one.holm)}"
    )


def _worst(found: Audit, losses: list[Lost]) -> list[str]:
    """For each representation and classifier the gauge that costs most, with its interval."""
    parts = []
    classifiers = list(dict.fromkeys(one.classifier for one in losses))
    for classifier in classifiers:
        rows = []
        for name in (one.name for one in found.representations):
            some = [one for one in losses if (one.representation, one.classifier) == (name, classifier)]
            worst = max(some, key=lambda one: one.drop.mean)
            rows.append((f"{name}, {worst.gauge}", worst.drop, "worst" if worst.stands else "other"))
        title = f"<h3>{text(classifier)}</h3>" * (len(classifiers) > 1)
        parts.append(title + forest(sorted(rows, key=lambda row: -row[1].mean), 0.0))
    if not parts:
        return []
    note = (
        "Accuracy as trained less accuracy in the gauge that costs most, mean and 95 % interval of that drop alone. Red: a "
        "loss that stands after Holm's correction over all drops (p below .05)."
    )
    return ["<h2>The largest drop of each</h2>", *parts, f"<p><small>{note}</small></p>"]


def _every(losses: list[Lost]) -> list[str]:
    if not losses:
        return []
    rows = []
    for one in sorted(losses, key=lambda one: -one.drop.mean):
        d, before, after = one.drop, one.reading.original, one.reading.after[one.gauge]
        rows.append(
            (one.representation, one.classifier, one.gauge, f"{before.mean:.3f}", f"{after.mean:.3f}", f"{d.mean:+.3f}",
             f"{d.low:+.3f} to {d.high:+.3f}", format_p(d.p), format_p(one.holm))
        )  # fmt: skip
    columns = (
        "representation",
        "classifier",
        "gauge",
        "as trained",
        "in the gauge",
        "drop",
        "95 % interval",
        "p",
        "after Holm",
    )
    return [
        "<h2>What classifiers lose</h2>",
        f"<p><small>{text(NOTE.split('; drops', maxsplit=1)[0])}; drops are paired by test adapter.</small></p>",
        table(columns, rows, range(3, 9), "sorted"),
    ]


def _facts(found: Audit) -> Iterable[tuple[str, str]]:
    yield "fingerprint of the zoo", str(found.dataset["fingerprint"])
    for name, value in {**found.config, **found.machine, **found.versions}.items():
        yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
