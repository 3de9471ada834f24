"""Several experiments side by side: what their cells score, what differs, and the runs of equal ones together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

from lora_perf.classifiers.metrics import Answers, Estimate, PairedDifference, accuracy_of, by_t, difference_of
from lora_perf.core.charts import side_by_side
from lora_perf.core.errors import LoraPerfError, listed
from lora_perf.core.pages import document, sortable, text
from lora_perf.core.tables import Table
from lora_perf.core.text import LONGEST, counted, markdown
from lora_perf.io import store
from lora_perf.report.cells import CellResult, RunResult
from lora_perf.report.comparisons import LEVEL, holm
from lora_perf.report.drawings import Line, forest, lines_by, scatter
from lora_perf.report.results import Results
from lora_perf.report.wording import format_p, with_interval, with_sign

FILES = ("comparison.md", "comparison.html")
NO_MATTER = frozenset(
    {
        *("dataset", "output_dir", "cache_dir", "cache_features", "resume", "preprocess_only", "dry_run"),
        *("threads", "scheduler", "shard", "trace"),
    }
)  # settings that say where things are and how far a run goes, not what its numbers are
_OF_RUNS = frozenset({"seed", "num_runs"})
Key = tuple[str, str, str]  # representation, group, classifier


@dataclass(frozen=True)
class Beside:
    """A cell of one experiment beside the same of the first.

    Attributes:
        paired: whether both were tested on the same adapters by as many runs, compared one by one.
        holm: p after Holm's correction over all cells of all experiments.
    """

    difference: PairedDifference
    paired: bool
    holm: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Experiments side by side.

    Attributes:
        names: of the experiments.
        results: theirs.
        settings: for each setting that is not the same in all, its value in each.
        scores: for each cell that several have, its score in each, None where it is not there.
        beside: for each cell and experiment but the first how it differs from the first.
    """

    names: Sequence[str]
    results: Sequence[Results]
    settings: Mapping[str, Sequence[str]]
    scores: Mapping[Key, Sequence[Estimate | None]]
    beside: Mapping[tuple[Key, int], Beside]

    def tables(self) -> list[Table]:
        """What differs between the experiments, and their scores."""
        rows = [(name, *values) for name, values in self.settings.items()]
        found = [Table("What differs", ("", *self.names), rows)] if rows else []
        columns = ["representation", "group", "classifier", self.names[0]]
        for name in self.names[1:]:
            columns += [name, f"{name} less {self.names[0]}", f"p of {name}"]
        lines = []
        for key, scores in self.scores.items():
            line = [*key, _told(scores[0])]
            for place, score in enumerate(scores[1:], start=1):
                one = self.beside.get((key, place))
                d = one.difference if one else None
                line += [
                    _told(score),
                    with_sign(d) if d else "",
                    format_p(one.holm) if one else "",
                ]
            lines.append(line)
        title = f"Test {self.results[0].measure}, mean and 95 % interval; p after Holm's correction"
        return [*found, Table(title, columns, lines, columns[3:])]

    def notes(self) -> list[str]:
        """How to read the differences."""
        paired = sum(one.paired for one in self.beside.values())
        apart = sum(one.holm < LEVEL for one in self.beside.values())
        stand = "stands" if apart == 1 else "stand"
        told = [f"Of {counted(len(self.beside), 'difference')} {apart} {stand} after Holm's correction."]
        if paired:
            told.append(f"{paired} of them are paired: the same test adapters, as many runs.")
        if paired < len(self.beside):
            told.append(
                "Where test adapters differ, both scores count as independent (Welch): adapters that stand in both, or train "
                "sets that overlap, make the intervals too wide or too narrow."
            )
        return told

    def lines(self) -> tuple[list[Line], str]:
        """Scores on the first group by the one number in which the experiments differ, if it is one and positive; else none."""
        numbers = {name: [_number(value) for value in values] for name, values in self.settings.items() if name not in _OF_RUNS}
        usable = {name: [x for x in values if x is not None and x > 0] for name, values in numbers.items()}
        whole = [name for name, values in usable.items() if len(set(values)) == len(self.names)]
        if not whole:
            return [], ""
        found = []
        for key, scores in self.scores.items():
            points = sorted((x, one) for x, one in zip(usable[whole[0]], scores, strict=True) if one is not None)
            if key[1] == self.results[0].groups[0] and len(points) > 1:
                found.append(Line(f"{key[0]}, {key[2]}", points))
        return found, whole[0]


def compared(results: Mapping[str, Results]) -> Comparison:
    """Experiments side by side, by their names.

    Raises:
        LoraPerfError: a single one, experiments that learned other things, or no cell in common.
    """
    names, found = [*results], [*results.values()]
    if len(found) < 2:
        raise LoraPerfError(expected="at least two output folders", found=listed(names) or "none", fix="name another one")
    if len({one.task for one in found}) > 1:
        raise LoraPerfError(
            expected="experiments that learned the same kind of thing",
            found=listed(f"{one.task} in {name}" for name, one in results.items()),
            fix="compare classes with classes, numbers with numbers",
        )
    keys = dict.fromkeys(_keys(found))
    scores = {key: [one.accuracy(*key) for one in found] for key in keys}
    scores = {key: each for key, each in scores.items() if sum(one is not None for one in each) > 1}
    if not scores:
        raise LoraPerfError(
            expected="a representation, group and classifier that several of the experiments have",
            found="none in common",
            fix="compare experiments with the same --representations, --layer-groups and --classifiers",
        )
    raw: dict[tuple[Key, int], tuple[PairedDifference, bool]] = {}
    for key in scores:
        first = found[0].answers(*key)
        for place, one in enumerate(found[1:], start=1):
            answers = one.answers(*key)
            if first and answers:
                paired = _same_test(found[0], one) and [each.right.shape for each in first] == [
                    each.right.shape for each in answers
                ]
                raw[key, place] = (difference_of(answers, first) if paired else _welch(answers, first)), paired
    corrected = holm([one.p for one, _ in raw.values()])
    beside = {at: Beside(one, paired, p) for (at, (one, paired)), p in zip(raw.items(), corrected, strict=True)}
    return Comparison(names, found, _differing(found), scores, beside)


def merged(results: Mapping[str, Results]) -> Results:
    """One experiment of the runs of several, which differ in their seeds alone.

    Raises:
        LoraPerfError: other settings, data or test adapters, or a seed that stands in two.
    """
    names, (first, *others) = [*results], list(results.values())
    for name, one in zip(names[1:], others, strict=True):
        wrong = [setting for setting in _differing([first, one]) if setting not in _OF_RUNS]
        if wrong or not _same_test(first, one):
            raise LoraPerfError(
                expected=f"experiments that differ in their seeds alone, as {names[0]}",
                found=f"{listed(wrong, 4) or 'other test adapters'} of another value in {name}",
                fix="leave --merge out to compare them; a split that is drawn has the seed of the first run",
            )
    cells = []
    for cell in first.cells:
        runs = [run for one in (first, *others) for run in (_runs(one, cell))]
        if cell.seeded and len({run.seed for run in runs}) < len(runs):
            raise LoraPerfError(
                expected="seeds that differ between the experiments",
                found=f"seed {listed(sorted({str(run.seed) for run in cell.runs}), 3)} in several",
                fix="run them with other --seed",
            )
        cells.append(replace(cell, runs=runs if cell.seeded else cell.runs))
    count = max(len(cell.runs) for cell in cells)
    return replace(first, config={**first.config, "num_runs": count}, cells=cells)


def write(found: Comparison, folder: Path) -> list[str]:
    """Writes comparison.md and comparison.html, each whole or not at all; returns their names."""
    with store.replacing(folder / FILES[0]) as file:
        parts = [f"# {' beside '.join(markdown(name, LONGEST) for name in found.names)}", "", *found.notes(), ""]
        for one in found.tables():
            parts += [f"## {markdown(one.title, LONGEST)}", "", one.markdown(), ""]
        file.write("\n".join(parts).encode())
    with store.replacing(folder / FILES[1]) as file:
        file.write(html_page(found).encode())
    return [*FILES]


def html_page(found: Comparison) -> str:
    """The page, which needs no network."""
    parts = [f"<h1>{text(' beside '.join(found.names))}</h1>", f'<p class="lead">{text(" ".join(found.notes()))}</p>']
    lines, across = found.lines()
    if lines:
        parts += [f"<h2>By {text(across)}</h2>", lines_by(lines, across)]
    parts += _drawn(found)
    for one in found.tables():
        parts += [f"<h2>{text(one.title)}</h2>", sortable(one)]
    return document(" beside ".join(found.names), parts)


def _drawn(found: Comparison) -> list[str]:
    """For each experiment but the first how its scores differ from those of the first, and both beside each other."""
    first, *others = found.names
    parts = []
    for place, name in enumerate(others, start=1):
        points, told = [], []
        differences: dict[str, list[tuple[str, Estimate, str]]] = {}
        for key, scores in found.scores.items():
            one, other, beside = scores[0], scores[place], found.beside.get((key, place))
            if one is None or other is None or beside is None:
                continue
            d = beside.difference
            points.append((one.mean, other.mean))
            told.append(
                f"{', '.join(key)}: {with_interval(one)} in {first}, {with_interval(other)} in {name}, {with_sign(d)}, "
                f"p {format_p(beside.holm)} after Holm"
            )
            kind = "other" if beside.holm >= LEVEL else "ours" if d.mean > 0 else "worst"
            row = (", ".join(key[:2]), Estimate(d.mean, d.low, d.high, d.se, d.df), kind)
            differences.setdefault(key[2], []).append(row)
        if not points:
            continue
        forests = [
            f"<div><h3>{text(classifier)}</h3>{forest(sorted(rows, key=lambda row: -row[1].mean), 0.0)}</div>"
            for classifier, rows in differences.items()
        ]
        across, up = zip(*points, strict=True)
        both = scatter(across, up, told, f"{found.results[0].measure} in {first}; upwards in {name}")
        parts += [f"<h2>{text(name)} less {text(first)}</h2>", side_by_side([*forests, both])]
    note = "Blue: more, red: less, below .05 after Holm's correction. On the dashed line both score the same."
    return [*parts, f"<p><small>{note}</small></p>"] if parts else []


def _keys(found: Sequence[Results]) -> Iterator[Key]:
    for one in found:
        for cell in one.first:
            if not cell.shuffled and cell.group in one.groups:
                yield cell.representation, cell.group, cell.classifier


def _same_test(one: Results, other: Results) -> bool:
    same = one.dataset["fingerprint"] == other.dataset["fingerprint"] and one.repeats == other.repeats
    return same and all([*one.tested[name].rows] == [*other.tested[name].rows] for name in one.repeats)


def _welch(first: Sequence[Answers], second: Sequence[Answers]) -> PairedDifference:
    """The difference of two independent scores, with Welch and Satterthwaite's degrees of freedom."""
    one, two = accuracy_of(first), accuracy_of(second)
    mean, se = one.mean - two.mean, sqrt(one.se**2 + two.se**2)
    df = se**4 / sum(each.se**4 / each.df for each in (one, two) if each.se > 0) if se else 1.0
    return by_t(mean, se, df)


def _differing(found: Sequence[Results]) -> dict[str, list[str]]:
    """The settings, data and versions that are not the same in all."""

    def facts(one: Results) -> dict[str, Any]:
        data = {f"data set: {name}": one.dataset.get(name) for name in ("name", "fingerprint", "adapters", "train", "test")}
        settings = {name: value for name, value in one.config.items() if name not in NO_MATTER}
        return settings | data | {f"version of {name}": value for name, value in one.versions.items()}

    each = [facts(one) for one in found]
    names = dict.fromkeys(name for one in each for name in one)
    return {
        name: [str(one.get(name, "")) for one in each]
        for name in names
        if any(one.get(name) != each[0].get(name) for one in each)
    }


def _told(one: Estimate | None) -> str:
    return with_interval(one) if one else ""


def _runs(results: Results, cell: CellResult) -> Sequence[RunResult]:
    found = results.cell(cell.representation, cell.group, cell.classifier, shuffled=cell.shuffled, division=cell.division)
    return found.runs if found else ()


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
