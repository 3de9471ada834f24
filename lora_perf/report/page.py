"""The results as one page, report.html, that needs no network: what was found first, then numbers, figures and settings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.charts import side_by_side
from lora_perf.core.pages import document, sortable, table, text
from lora_perf.core.text import counted
from lora_perf.io import store
from lora_perf.report.comparisons import MARGIN, Compared, drops, pairs, ranks
from lora_perf.report.costs import costs
from lora_perf.report.drawings import forest, heat_map, lines_by, scatter
from lora_perf.report.findings import about, best_cell, findings, warnings
from lora_perf.report.frames import mean_f1
from lora_perf.report.learning import learning
from lora_perf.report.lost import headed, lost
from lora_perf.report.ranking import rank_axis
from lora_perf.report.wording import (
    baseline_note,
    format_p,
    interval_note,
    measured,
    settings,
    stages,
)
from lora_perf.report.zoo_figure import zoo_map

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results

_MISREAD = 15
_SAID = ("dataset", "representations", "layer_groups", "classifiers", "controls", "num_runs", "seed", "split", "epochs")
_PAIRS = 60


def write_page(results: Results, folder: Path) -> None:
    """Writes report.html, whole or not at all."""
    with store.replacing(folder / "report.html") as file:
        file.write(html_page(results).encode())


def html_page(results: Results) -> str:
    """The page."""
    name = results.dataset["name"]
    compared = {classifier: pairs(results, classifier) for classifier in results.classifiers}
    dropped = drops(results)
    best = best_cell(results)
    parts = [
        f"<h1>{text(name)}</h1>",
        f'<p class="quiet">{text(about(results))}</p>',
        f'<p class="lead">{text(" ".join(findings(results, compared[best.classifier], list(dropped.values()))))}</p>',
        *(f"<p><strong>{text(one)}.</strong></p>" for one in warnings(results)),
        f"<h2>{text(results.measure[0].upper() + results.measure[1:])}</h2>",
        side_by_side(
            [
                f"<div>{headed(results, one)}{forest(_accuracies(results, one), results.chance)}</div>"
                for one in results.classifiers
            ]
        ),
        f"<p><small>{text(interval_note(results))} The dotted line: {text(baseline_note(results))}</small></p>",
        *_at_random(results),
        *lost(results, dropped),
        "<h2>Which representations differ</h2>",
        side_by_side([f"<div>{_differences(results, classifier, found)}</div>" for classifier, found in compared.items()]),
        *_studies(results),
        *_costs(results),
        "<h2>Every cell</h2>",
        _cells(results),
        *zoo_map(results, best),
        *_of_best(results, best),
        *learning(results, best),
        "<h2>Adapters that most cells misread</h2>",
        _misread(results),
        "<h2>How it was made</h2>",
        f"<pre><code>{text(command(results))}</code></pre>",
        table(("", ""), [*_facts(results)]),
    ]
    return document(f"Ablation of {name}", parts)


def _accuracies(results: Results, classifier: str) -> list[tuple[str, Estimate, str]]:
    """(name, estimate, kind) for a forest, the best on top."""
    rows = []
    for name, group in product(results.representations, results.groups):
        if (one := results.accuracy(name, group, classifier)) is not None:
            title = name if len(results.groups) == 1 else f"{name}, {group}"
            rows.append((title, one, "ours" if group == results.groups[0] else "other"))
    return sorted(rows, key=lambda row: -row[1].mean)


def _costs(results: Results) -> list[str]:
    drawn = costs(results)
    if not drawn:
        return []
    groups = f"; blue: {text(results.groups[0])}, grey: other layer groups" * (len(results.groups) > 1)
    return [
        f"<h2>{text(results.measure[0].upper() + results.measure[1:])} against what it costs</h2>",
        drawn,
        f"<p><small>The line: the most that is read for so much or less{groups}. Axes across are logarithmic.</small></p>",
    ]


def _differences(results: Results, classifier: str, found: Sequence[Compared]) -> str:
    if not found:
        return "<p>A single one.</p>"
    apart = [one for one in found if one.differs]
    ranked = ranks(results, classifier)
    parts = [headed(results, classifier)]
    parts.append(f"<p>{len(apart)} of {counted(len(found), 'pair')} differ after Holm's correction (p below .05).</p>")
    if ranked is not None:
        means, critical = ranked
        best = min(means.values())
        order = sorted(means.items(), key=lambda pair: pair[1])
        placed = [(name, f"{rank:.2f}", "apart from the first" * (rank - best >= critical)) for name, rank in order]
        parts.append(rank_axis(means, critical))
        parts.append(
            f"<p><small>Mean ranks over test adapters; those that differ by {critical:.2f} or more differ by Nemenyi's test "
            "(Demsar 2006), a bar joins those that do not.</small></p>"
        )
        parts.append(table(("representation", "mean rank over test adapters", ""), placed, [1], "sorted"))
    rows = [
        (
            one.first,
            one.second,
            f"{one.difference.mean:+.3f}",
            format_p(one.difference.p),
            format_p(one.holm),
            f"{one.same:.0%}",
        )
        for one in sorted(found, key=lambda one: (one.holm, one.difference.p))[:_PAIRS]
    ]
    columns = ("better", "worse", "by", "p", "p after Holm", f"within {MARGIN:.0%}")
    inner = table(columns, rows, range(2, 6), "sorted")
    return "".join(parts) + f"<details><summary>{counted(len(rows), 'pair')}, the clearest first</summary>{inner}</details>"


def _cells(results: Results) -> str:
    permuted = any(cell.permuted for cell in results.first)
    columns = (
        "representation",
        "group",
        "classifier",
        "features",
        results.measure,
        "95 % interval",
        *["macro F1"] * (results.task == "classes"),
        *measured(results, results.first[0]),
        *["labels permuted", "its p"] * permuted,
        "runs",
        "setting",
        "s",
    )
    rows = []
    for cell in results.first:
        if cell.group not in results.groups:
            continue
        one = results.accuracy(cell.representation, cell.group, cell.classifier, shuffled=cell.shuffled)
        assert one is not None
        f1 = mean_f1(results.draws_of(cell))
        name = cell.classifier + ", labels shuffled" * cell.shuffled
        rows.append(
            (cell.representation, cell.group, name, f"{cell.features:,}", f"{one.mean:.3f}",
             f"{one.low:.3f} to {one.high:.3f}", *([] if f1 is None else [f"{f1:.3f}"]), *measured(results, cell).values(),
             *([f"{cell.permuted.mean:.3f}", format_p(cell.permuted.p)] if cell.permuted else ["", ""] * permuted),
             str(len(cell.runs)),
             cell.note or settings(cell.setting), f"{cell.seconds:.1f}")
        )  # fmt: skip
    words = (0, 1, 2, len(columns) - 2)
    return table(columns, rows, [place for place in range(len(columns)) if place not in words], "sorted")


def _studies(results: Results) -> list[str]:
    """Layers, numbers of adapters, another zoo: what was found, a drawing, tables."""
    found = []
    for study in results.studies():
        found += [f"<h2>{text(study.title)}</h2>", *(f"<p>{text(note)}</p>" for note in study.notes)]
        if study.lines:
            found.append(lines_by(study.lines, study.across))
        for one in study.tables:
            opened = " open" * (len(study.tables) < 3)
            found.append(f"<details{opened}><summary>{text(one.title)}</summary>{sortable(one)}</details>")
    return found


def _at_random(results: Results) -> list[str]:
    """Scores where groups stay whole beside those of a random split."""
    if not results.divisions("random"):
        return []
    rows = []
    for classifier, name in product(results.classifiers, results.representations):
        one, random = (of(name, results.groups[0], classifier) for of in (results.accuracy, results.at_random))
        if one and random:
            rows.append((name, classifier, f"{one.mean:.3f}", f"{random.mean:.3f}", f"{random.mean - one.mean:+.3f}"))
    columns = ("representation", "classifier", "groups apart", "random split", "more at random")
    return ["<h2>What a random split would have said</h2>", table(columns, rows, (2, 3, 4), "sorted")]


def _of_best(results: Results, best: CellResult) -> list[str]:
    """The confusion matrix, or numbers beside the true ones, of one cell."""
    parts = []
    if results.task == "classes":
        confusion = np.sum([run.confusion for run in best.runs], axis=0)
        parts = [
            f"<h2>What {text(str(best.cell))} confuses</h2>",
            heat_map(confusion, results.dataset["classes"]),
            "<p><small>Rows are true classes, columns predicted ones; all runs together, each row in shares.</small></p>",
        ]
    elif results.task == "numbers":
        means = np.mean([run.predictions for run in best.runs], axis=0)
        told = [
            f"{name}: {said:.4g}, in truth {true:.4g}"
            for name, said, true in zip(results.predictions.adapters, means.tolist(), results.truth.tolist(), strict=True)
        ]
        drawn = scatter(results.truth.tolist(), means.tolist(), told, "truth; upwards what was said")
        parts = [f"<h2>What {text(str(best.cell))} says</h2>", drawn]
    elif results.task == "several":
        areas = {name[7:]: np.mean([run.measures[name] for run in best.runs]) for name in best.runs[0].measures
                 if name.startswith("auc of ")}  # fmt: skip
        rows = [(name, f"{value:.3f}") for name, value in sorted(areas.items(), key=lambda one: -one[1])]
        parts = [f"<h2>Labels, {text(str(best.cell))}</h2>", table(("label", "area under the ROC curve"), rows, [1], "sorted")]
    return parts


def _misread(results: Results) -> str:
    cells = [cell for cell in results.first if not cell.shuffled and cell.group in results.groups]
    wrong = np.mean([1 - results.gains(cell).mean(axis=0) for cell in cells], axis=0)
    order = np.argsort(-wrong, kind="stable")[:_MISREAD]
    found = results.predictions
    truth = [f"{value:.4g}" if results.task == "numbers" else found.classes[int(value)] for value in found.told_truth]
    shown = "{:.0%}" if results.task == "classes" else "{:.3f}"
    rows = [(found.adapters[at], truth[at], shown.format(wrong[at])) for at in order.tolist() if wrong[at] > 0]
    last = "of all runs wrong" if results.task == "classes" else "lost of 1"
    return table(("adapter", "truth", last), rows, [2], "sorted") if rows else "<p>None.</p>"


def _facts(results: Results) -> list[tuple[str, str]]:
    data = results.dataset
    facts = {"fingerprint of the zoo": data["fingerprint"], "published as": data.get("origin", "")}
    rows = [(name, str(value)) for name, value in (facts | results.machine | results.versions).items() if str(value)]
    return [("stages", stages(results.seconds)), *rows, *((name, str(value)) for name, value in results.config.items())]


def command(results: Results) -> str:
    """The command that makes these results again, in an environment of the versions below."""
    words = ["lora-perf", "run"]
    for name in (
        "dataset",
        "target",
        "task",
        "group_column",
        "representations",
        "layer_groups",
        "layers",
        "classifiers",
        "train_sizes",
        "test_dataset",
        "controls",
        "num_runs",
        "seed",
        "split",
        "splits",
        "epochs",
    ):
        value = results.config.get(name)
        if value not in (None, [], ()) and (name, value) not in (("task", "auto"), ("splits", 1), ("layers", "groups")):
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)
