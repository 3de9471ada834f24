"""What a person reads of an audit: the tables of the terminal, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_perf.audit.figure import drawn
from lora_perf.audit.gauges import GAUGES
from lora_perf.audit.movement import STILL, Extent, short
from lora_perf.core.tables import Table
from lora_perf.core.text import LONGEST, counted
from lora_perf.core.text import markdown as markdown_text
from lora_perf.io.atomic import write_together
from lora_perf.report.canvas import remove_figures, write_figure
from lora_perf.report.wording import TINY_WARNING, format_p, left_out, with_interval, with_sign

if TYPE_CHECKING:
    from lora_perf.audit.study import Audit, Audited

NOTE = (
    "Intervals (95 %) and p hold for new test adapters (for mlp: and new seeds); drops are paired by test adapter, p is not "
    "corrected for several comparisons."
)
UNLABELLED = "no labels: how far features move is told, and no accuracy"


def tables(found: Audit) -> list[Table]:
    """The two tables of the terminal: how far features move, and what classifiers lose."""
    of = f"over {found.moved:,} adapters of {found.dataset['name']}"
    numbers = [*GAUGES, "in standard deviations"]
    title = f"Movement of the features |f' - f| / |f|, median and largest {of}"
    floor = [f"{short(one.median)}  {short(one.largest)}" for one in found.rounding.values()]
    rows = [["dW, by rounding", *floor, "", ""]]
    for one in found.representations:
        extents = [movement.relative for movement in one.movements.values()]
        cells = [f"{short(extent.median)}  {short(extent.largest)}" for extent in extents]
        rows.append([one.name, *cells, _deviations(one), "still" if one.still else "moves"])
    moves = Table(title, ["representation", *numbers, ""], rows, numbers)
    title, numbers = "Test accuracy as trained, and what is lost in each gauge (mean and 95 % interval)", ["original", *GAUGES]
    rows = []
    for one in found.representations:
        for reading in one.readings:
            original = reading.original
            drops = [with_sign(drop) for drop in reading.drop.values()]
            about = with_interval(original)
            rows.append([one.name, reading.classifier, about, *drops])
    return [moves] if not rows else [moves, Table(title, ["representation", "classifier", *numbers], rows, numbers)]


def rows(found: Audit) -> Iterator[dict[str, Any]]:
    """The numbers of the audit: a row for each representation, gauge and classifier, or none without labels."""
    for one, gauge in product(found.representations, GAUGES):
        extent = one.movements[gauge].relative
        row = {"representation": one.name, "gauge": gauge, "features": one.features, "constant": one.constant}
        row |= {"moved_median": extent.median, "moved_largest": extent.largest, "still": one.still}
        for reading in one.readings:
            drop = reading.drop[gauge]
            read = {"classifier": reading.classifier, "accuracy": reading.original.mean, "after": reading.after[gauge].mean}
            yield row | read | {"drop": drop.mean, "drop_low": drop.low, "drop_high": drop.high, "drop_p": drop.p}
        if not one.readings:
            yield row


def told(found: Audit) -> list[str]:
    """What is said beside the tables: warnings, what intervals hold for, and the verdict."""
    return [*warnings(found), *[NOTE] * found.labelled, verdict(found)]


def verdict(found: Audit) -> str:
    """Which representations do not depend on the gauge, in one line."""
    still = [one.name for one in found.representations if one.still]
    moving = [one.name for one in found.representations if not one.still]
    parts = [f"still (below {STILL:g}): {', '.join(still)}"] * bool(still) + [f"moving: {', '.join(moving)}"] * bool(moving)
    return "; ".join(parts)


def warnings(found: Audit) -> list[str]:
    """What to know before any number."""
    notes = [TINY_WARNING] if found.dataset["resubstitution"] else []
    notes += [] if found.labelled else [UNLABELLED]
    return notes + [left_out(len(found.dataset["skipped"]))] * bool(found.dataset["skipped"])


def markdown(found: Audit, figure: bool = True) -> str:
    """The audit as one page of Markdown; `figure`: audit.svg stands beside it."""
    data = found.dataset
    classes = counted(len(data["classes"]), "class", "classes") if found.labelled else "no labels"
    lines = [
        f"# Gauge audit of {markdown_text(data['name'], LONGEST)}",
        "",
        f"{counted(data['adapters'], 'adapter')} of {counted(data['modules'], 'module')} and "
        f"{counted(data['parameters'], 'parameter')}, {classes}; "
        f"split `{data['split']}`: {data['train']:,} train, {data['test']:,} test; layer group "
        f"{markdown_text(found.config['layers'], LONGEST)}.",
        "",
        "dW = s B A is the same update as s (B G) (G^-1 A). Each adapter is written in other factors, module by module, "
        f"computed in float64 and rounded to float32 (seed {found.config['seed']}); classifiers were trained on the adapters "
        "as they are.",
        "",
        *(f"- `{one.name}`: {one.about}" for one in GAUGES.values()),
        "",
        f"**{verdict(found)[0].upper()}{verdict(found)[1:]}.**",
        "",
    ]
    lines += [f"**Warning: {one}.**\n" for one in warnings(found)]
    lines += [f"Left out: `{name}` ({markdown_text(reason)}).\n" for name, reason in found.left_out.items()]
    lines += ["![movement and drop](audit.svg)", ""] if figure else []
    lines += [
        *("## How far features move", ""),
        f"Over {found.moved:,} adapters: |f' - f| / |f| of the row of features; its root mean square in standard deviations of "
        "the train adapters; and the same by feature, over the adapters. The first lines are dW itself, which moves only "
        "because float32 factors cannot hold it exactly: the floor of all others.",
        *("", moved(found).markdown(), ""),
    ]
    if found.labelled:
        lines += ["## What classifiers lose", "", NOTE, "", _lost(found).markdown(), ""]
    facts = {"fingerprint of the zoo": data["fingerprint"], **found.machine, **found.versions}
    return "\n".join([*lines, Table("", ("", ""), [(name, str(value)) for name, value in facts.items()]).markdown(), ""])


def write(found: Audit, folder: Path) -> list[str]:
    """Writes pages and numbers, all or none, then the figure, which audit.md shows once it is there; returns the names.

    Raises:
        LoraPerfError: page or numbers cannot be written; a figure that cannot be drawn is a warning.
    """
    numbers = json.dumps(found.to_json(), indent=1, allow_nan=False).encode()
    texts = {"audit.md": markdown(found, figure=False), "audit.html": found.to_html()}
    write_together({folder / name: text.encode() for name, text in texts.items()} | {folder / "audit.json": numbers})
    remove_figures([folder / "audit.svg"])
    figure = write_figure(lambda: drawn(found), folder / "audit", ["svg"])
    if figure:
        write_together({folder / "audit.md": markdown(found).encode()})
    return [*texts, "audit.json", *figure]


def moved(found: Audit) -> Table:
    """How far features move: a row for each representation and gauge, those of dW itself first."""
    numbers = ("features", "constant", *(end + of for of in ("", ", sd") for end in ("median", "largest")))
    numbers += ("feature median, sd", "feature largest, sd")
    rows = [
        ["dW, by rounding", gauge, "", "", short(floor.median), short(floor.largest), *[""] * 5]
        for gauge, floor in found.rounding.items()
    ]
    for audited, gauge in product(found.representations, GAUGES):
        one = audited.movements[gauge]
        extents = [text for extent in (one.relative, one.standardised, one.by_feature) for text in _pair(extent)]
        rows.append([audited.name, gauge, f"{audited.features:,}", f"{audited.constant:,}", *extents, one.most or ""])
    return Table("", ("representation", "gauge", *numbers, "of feature"), rows, numbers)


def _lost(found: Audit) -> Table:
    numbers = ("original", "95 % interval", "in the gauge", "drop", "95 % interval", "p")
    rows = []
    for audited in found.representations:
        for reading, gauge in product(audited.readings, GAUGES):
            drop, before, after = reading.drop[gauge], reading.original, reading.after[gauge]
            cells = [audited.name, reading.classifier, gauge, f"{before.mean:.3f}", f"{before.low:.3f} to {before.high:.3f}"]
            cells += [f"{after.mean:.3f}", f"{drop.mean:+.3f}", f"{drop.low:+.3f} to {drop.high:+.3f}", format_p(drop.p)]
            rows.append(cells)
    return Table("", ("representation", "classifier", "gauge", *numbers), rows, numbers)


def _deviations(one: Audited) -> str:
    """The largest of a representation's standardised movements."""
    found = [moved.standardised.largest for moved in one.movements.values() if moved.standardised]
    return short(max(found)) if found else "constant"


def _pair(one: Extent | None) -> tuple[str, str]:
    return (short(one.median), short(one.largest)) if one else ("", "")
