"""The results in one table of a terminal or a notebook, and in one page of Markdown, summary.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lora_perf.classifiers import DEFAULT
from lora_perf.core.tables import Table
from lora_perf.core.text import LONGEST, counted, markdown
from lora_perf.io import store
from lora_perf.report.comparisons import drops, pairs
from lora_perf.report.frames import mean_f1
from lora_perf.report.wording import (
    TINY_WARNING,
    baseline_note,
    class_notes,
    control_notes,
    division_notes,
    format_p,
    interval_note,
    left_out,
    measured,
    settings,
    stages,
    with_interval,
    with_sign,
)

if TYPE_CHECKING:
    from lora_perf.report.cells import CellResult
    from lora_perf.report.results import Results


def write_summary(results: Results, folder: Path, figures: Sequence[str] = ()) -> None:
    """Writes summary.md, whole or not at all; `figures` that stand beside it are shown in it."""
    with store.replacing(folder / "summary.md") as file:
        file.write(summary(results, figures).encode())


def summary(results: Results, figures: Sequence[str] = ()) -> str:
    """The results as Markdown."""
    data = results.dataset
    lines = [
        f"# Ablation of {markdown(data['name'], LONGEST)}",
        "",
        f"{counted(data['adapters'], 'adapter')} of {counted(data['layers'], 'layer')} and "
        f"{counted(data['parameters'], 'parameter')}, {markdown(learned(results))}; "
        f"split `{data['split']}`: {data['train']:,} train, {data['validation']:,} validation, "
        f"{data['test']:,} test. {_runs(results)} {baseline_note(results)}",
        "",
    ]
    if data["resubstitution"]:
        lines += [f"**Warning: {TINY_WARNING}.**", ""]
    if data["skipped"]:
        lines += [f"**{left_out(len(data['skipped']))}** (`results.json` says which and why).", ""]
    again = data.get("repeated") or {"test": 0}
    if again["test"]:
        other = f", {again['other_class']:,} of them under another class" * bool(again["other_class"])
        lines += [
            f"**{again['test']:,} of the test adapters have the weights of a train or validation adapter**{other} "
            "(`results.json` names them); the accuracies count them.",
            "",
        ]
    lines += [line for note in division_notes(results) for line in (markdown(note), "")]
    for note in class_notes(data.get("untrained", ()), data.get("untested", ())):  # which records of before do not have
        lines += [f"**{note[0].upper()}{markdown(note[1:])}.**", ""]
    for name in figures:
        about = f"{name} from {markdown(results.groups[0], LONGEST)}" if name == "drop" else name
        lines += [f"![{about}]({name}.svg)", ""]
    lines += [_table(results), "", *_notes(results)]
    for study in results.studies():
        lines += [f"## {markdown(study.title, LONGEST)}", "", *(line for note in study.notes for line in (markdown(note), ""))]
        lines += [line for one in study.tables for line in (f"{markdown(one.title, LONGEST)}:", "", one.markdown(), "")]
    facts = {"fingerprint of the zoo": data["fingerprint"], **results.machine, **results.versions}
    rows = [(name, str(value)) for name, value in facts.items()]
    return "\n".join([*lines, f"Stages: {stages(results.seconds)}.", "", Table("", ("", ""), rows).markdown(), ""])


def _runs(results: Results) -> str:
    seeded = results.seeded
    single = [name for name in results.classifiers if name not in seeded]
    runs = [f"{counted(results.config['num_runs'], 'run')} a cell" + f" of {', '.join(seeded)}" * bool(single)] * bool(seeded)
    runs += [f"1 run a cell of {', '.join(single)}"] * bool(single)
    return ", ".join(runs) + "."


def _notes(results: Results) -> list[str]:
    """What the columns of the table mean, a paragraph each."""
    first = markdown(results.groups[0], LONGEST)
    notes = [
        f"{markdown(interval_note(results))} Constant features are columns that do not vary on the train adapters; "
        "they are left out.",
        "ms: what an adapter costs to represent, this representation of this group alone, of weights in memory, on the machine "
        "below; for learned ones their fit and the features of all adapters, divided among these.",
    ]
    searched = dict.fromkeys(cell.classifier for cell in results.first if cell.setting)
    if searched:
        how = (
            f"are fitted to the train and validation adapters, with the setting that was best over {folds} folds of these."
            if (folds := results.dataset.get("folds"))  # which records of before do not have
            else "are fitted to the train adapters, with the setting that was best on the validation adapters."
        )
        scaled = "alpha and C are for features scaled so that the eigenvalues of their Gram matrix have mean 1."
        notes.append(f"Probes ({', '.join(searched)}) {how} {scaled}")
    tried = next((cell.permuted for cell in results.first if cell.permuted), None)
    if tried:
        notes.append(
            f"Labels permuted: the mean score of {tried.count} permutations of all labels, the setting chosen anew; its "
            "p: how many of them, and of the true labels, score as much as these. No correction is made among cells."
        )
    if results.halves:
        notes.append(
            f"Halves: {len(results.halves)} random choices of whole modules, as many as "
            f"{markdown(results.groups[1], LONGEST)} has; the mean drop from {first} to them, the smallest and the largest, "
            f"and to how many of them accuracy drops as much as to {markdown(results.groups[1], LONGEST)}, or more."
        )
    if results.shuffled:
        notes.append(
            "Shuffled: accuracy of the same cell with the labels of train and validation adapters permuted, once. Where "
            "classes are tight clusters, each cluster gets one label, so that a single permutation may be off chance by luck."
        )
    notes += [one for one in control_notes(results) if one]
    return [line for note in notes for line in (note, "")]


def _table(results: Results) -> str:
    extra = list(measured(results, results.first[0]))
    titles = ["representation", "group", "classifier", "features", "constant", "ms", results.measure, "95 % interval"]
    titles += ["macro F1"] * (results.task == "classes") + extra
    beside = bool(results.divisions("random"))
    titles += ["random split"] * beside
    permuted = any(cell.permuted for cell in results.first)
    titles += ["labels permuted", "its p"] * permuted
    titles += [f"drop from {results.groups[0]}", "95 % interval", "p", "p after Holm"]
    dropped = drops(results)
    titles += ["drop to halves"] * bool(results.halves) + ["shuffled"] * results.shuffled
    titles += ["runs", "epochs or setting", "seconds"]
    rows = []
    for cell in sorted(results.first, key=_order(results)):
        if cell.shuffled or cell.group not in results.groups:
            continue
        name, group, classifier = cell.representation, cell.group, cell.classifier
        estimate, drop, halves = results.told(cell)
        assert estimate is not None  # the first split tests several groups
        control = results.accuracy(name, group, classifier, shuffled=True)
        count = len(cell.runs)
        row = [name, group, classifier, f"{cell.features:,}", f"{len(cell.constant):,}", milliseconds(cell.milliseconds)]
        row += [f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}"]
        if (f1 := mean_f1(results.draws_of(cell))) is not None:
            row.append(f"{f1:.3f}")
        row += measured(results, cell).values()
        if beside:
            random = results.at_random(name, group, classifier)
            row.append(f"{random.mean:.3f}" if random else "")
        if permuted:
            row += [f"{cell.permuted.mean:.3f}", format_p(cell.permuted.p)] if cell.permuted else ["", ""]
        if drop and (name, group, classifier) in dropped:
            p = dropped[name, group, classifier].holm
            row += [f"{drop.mean:+.3f}", f"{drop.low:+.3f} to {drop.high:+.3f}", format_p(drop.p), format_p(p)]
        else:
            row += [""] * 4
        if results.halves:
            row.append(str(halves) if halves else "")
        if results.shuffled:
            row.append(f"{control.mean:.3f}" if control else "")
        epochs = f"{sum(run.epochs for run in cell.runs) / count:.0f}"
        row += [str(count), cell.note or settings(cell.setting) or epochs, f"{cell.seconds:.1f}"]
        rows.append(row)
    return Table("", titles, rows, titles[3:]).markdown()


def results_table(results: Results) -> Table:
    """Mean scores with their intervals, the strongest first, what tells each from the strongest, drops, controls, seconds."""
    first, *others = results.groups
    several = results.classifiers != [DEFAULT]
    columns = ["representation"] + ["classifier"] * several
    numbers = [first, "p to best", *others]
    beside, extra = bool(results.divisions("random")), list(measured(results, results.first[0]))
    numbers += ["random split"] * beside + extra
    for group in others:
        numbers += [f"drop to {group}", "p"]
    numbers += [f"to {len(results.halves)} halves"] * bool(results.halves) + ["shuffled"] * results.shuffled + ["seconds"]
    title = f"Test {results.measure} on {results.dataset['name']}{_of_what(results)} (chance {results.chance:.3f}), "
    title += "mean and 95 % interval; p after Holm's correction"
    dropped = drops(results)
    rows = []
    for classifier in results.classifiers:
        behind = to_best(results, classifier)
        named = [name for name in results.representations if results.cell(name, first, classifier)]
        for name in sorted(named, key=lambda one, of=classifier: -_mean(results, one, first, of)):  # type: ignore[misc]
            row = [name] + [classifier] * several
            told = []
            for group in results.groups:
                estimate = results.accuracy(name, group, classifier)
                told.append(with_interval(estimate) if estimate else "")
            row += [told[0], behind.get(name, ""), *told[1:]]
            cell = results.cell(name, first, classifier)
            if beside:
                random = results.at_random(name, first, classifier)
                row.append(f"{random.mean:.3f}" if random else "")
            row += measured(results, cell).values() if cell else []
            for group in others:
                drop = dropped.get((name, group, classifier))
                d = drop.difference if drop else None
                row += [with_sign(d), format_p(drop.holm)] if d and drop else ["", ""]
            if results.halves:
                halves = results.drop_to_halves(name, classifier)
                row.append(str(halves) if halves else "")
            if results.shuffled:
                control = results.accuracy(name, first, classifier, shuffled=True)
                row.append(f"{control.mean:.3f}" if control else "")
            cells = [results.cell(name, group, classifier) for group in results.groups]
            row.append(f"{sum(cell.seconds for cell in cells if cell):.1f}")
            rows.append(row)
    return Table(title, [*columns, *numbers], rows, numbers)


def to_best(results: Results, classifier: str) -> dict[str, str]:
    """For each representation the p value, after Holm's correction over all pairs, of what it differs from the strongest by."""
    found = pairs(results, classifier)
    if not found:
        return {}
    best = found[0].first
    return {best: "best"} | {one.second: format_p(one.holm) for one in found if one.first == best}


def _mean(results: Results, name: str, group: str, classifier: str) -> float:
    estimate = results.accuracy(name, group, classifier)
    return estimate.mean if estimate else -1e300


def _order(results: Results) -> Callable[[CellResult], tuple[int, float, int]]:
    """Cells by classifier, then the strongest representation first, groups in their order."""
    places = {name: place for place, name in enumerate(results.classifiers)}
    groups = {name: place for place, name in enumerate(results.groups)}

    def key(cell: CellResult) -> tuple[int, float, int]:
        mean = _mean(results, cell.representation, results.groups[0], cell.classifier)
        return places[cell.classifier], -mean, groups.get(cell.group, len(groups))

    return key


def learned(results: Results) -> str:
    """What was learned, in words."""
    data = results.dataset
    of = f" of {data['target']}" if data.get("target") else ""
    if results.task == "numbers":
        return f"numbers{of}"
    return counted(len(data["classes"]), *(("label",) if results.task == "several" else ("class", "classes"))) + of


def _of_what(results: Results) -> str:
    target = results.dataset.get("target")
    return f", {target}" if target else ""


def milliseconds(value: float | None) -> str:
    """A cost as the table shows it, with two digits that count."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.01 else "<0.01"
