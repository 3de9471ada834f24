"""An inspection as tables of texts, from which the terminal and the Markdown page are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lora_perf.core.errors import listed
from lora_perf.core.tables import Table
from lora_perf.core.text import LONGEST, counted
from lora_perf.core.text import markdown as markdown_text

if TYPE_CHECKING:
    from lora_perf.inspect.findings import InitialA, Inspection

_EXAMPLES = 3  # findings of one kind that are shown; the JSON file has all
_CLASSES = 12
MODULE_COLUMNS = ("modules", "in an adapter", "rank", "scale s", "median |dW|", "dW = 0", "cosine of A")
PROBLEMS = {
    "unreadable": "files that cannot be read",
    "damaged": "content that is not what was packed",
    "unsupported": "kinds of adapters that are no product B A",
    "unpaired": "factors without their partner",
    "incomplete": "files that are not a whole adapter",
    "unread": "parts of the update that are not read",
    "storage": "weights of a dtype that is not read",
    "no adapter": "files without a factor of a LoRA",
    "refused": "files that contradict themselves",
    "stated": "scales and ranks that are stated and not so, or not used",
    "modules": "other modules than most",
    "labels": "classes that are missing or unclear",
    "non-finite": "weights that are NaN or infinite",
    "zero": "updates dW that are 0",
    "identical": "the same factors as another adapter",
    "same dW": "the same dW as another adapter, by other factors",
    "near": "nearly the dW of another adapter",
}


def tables(found: Inspection) -> list[Table]:
    """What a person is shown: facts, kinds of modules, problems and notes, as far as there are any."""
    shown = [Table(found.name, ("", ""), tuple(facts(found)))]
    if found.kinds:
        several = any(one.kind == "modules" for one in found.problems)
        title = "Modules of the commonest set" if several else "Modules"
        shown.append(Table(title, MODULE_COLUMNS, module_rows(found), MODULE_COLUMNS[1:]))
    if found.problems:
        shown.append(Table("Problems", ("problem", "adapters", "which"), tuple(_problems(found)), ("adapters",)))
    if found.notes:
        shown.append(Table("Worth knowing", ("about", "what"), tuple((one.kind, one.text) for one in found.notes)))
    return shown


def module_rows(found: Inspection) -> list[tuple[str, ...]]:
    """A row for each kind of modules, under MODULE_COLUMNS."""
    return [
        (
            one.name,
            f"{one.modules:,}",
            _ranks(one.ranks),
            _scales(one.scales),
            f"{one.norm:.3g}",
            f"{one.zeros:,}",
            "" if one.cosine is None else cosine(one.cosine),
        )
        for one in found.kinds
    ]


def verdict(found: Inspection) -> str:
    """The inspection in one line."""
    if not found.problems:
        return "nothing wrong"
    kinds = [kind for kind in PROBLEMS if any(one.kind == kind for one in found.problems)]
    bad = {name for one in found.problems for name in one.adapters}
    return f"problems: {listed(kinds)}" + f" ({counted(len(bad), 'adapter')})" * bool(bad)


def facts(found: Inspection) -> list[tuple[str, str]]:
    """What there is, a line each."""
    files = found.files
    rows = [("adapters", f"{found.adapters:,}" + (f" of {files.found:,} files" if files else ""))]
    if found.modules:
        rows.append(("modules", f"{found.modules:,}, {found.parameters:,} parameters"))
    if files and files.opened:
        rows += [("dialects", _counts(files.dialects)), ("dtypes", _counts(files.dtypes))]
        if len(files.modules) > 1:
            rows.append(("modules a file", listed(f"{count:,} in {n:,} files" for count, n in files.modules.items())))
        alphas = [f"tensors in {files.alphas:,} files"] * bool(files.alphas)
        alphas += [f"over sqrt(r) in {files.rslora:,} files"] * bool(files.rslora)
        rows.append(("alphas", ", ".join(alphas) or "no tensors"))
    if found.classes:
        rows.append(("classes", _classes(found.classes)))
    if found.split:
        rows.append(("split", _counts(found.split)))
    if found.initial:
        rows.append(("A", _initial(found.initial)))
    return rows


def _initial(initial: InitialA) -> str:
    if initial.verdict == "unknown":
        return f"unknown: {initial.meaning}"
    share = "less than 0.1 %" if 0 < initial.related < 0.001 else f"{100 * initial.related:.3g} %"
    return (
        f"{initial.verdict}: mean pairwise cosine {cosine(initial.lowest)} to {cosine(initial.highest)} by module, "
        f"{share} of pairs related ({initial.sampled:,} adapters compared). This is {initial.meaning}."
    )


def _classes(classes: Mapping[str, int]) -> str:
    most, least = max(classes.values()), min(classes.values())
    balance = f"{least:,} each" if most == least else f"{least:,} to {most:,} each"
    return f"{len(classes):,}, {balance}: {listed((f'{name} {count:,}' for name, count in classes.items()), _CLASSES)}"


def _counts(counts: Mapping[str, int]) -> str:
    return listed(f"{name} {count:,}" for name, count in counts.items())


def _ranks(ranks: Mapping[int, int]) -> str:
    total = sum(ranks.values())
    return listed(
        (f"{rank}" if count == total else f"{rank} ({100 * count / total:.3g} %)" for rank, count in ranks.items()), 4
    )


def _scales(scales: tuple[float, float, float]) -> str:
    low, median, high = scales
    return f"{median:.3g}" if low == high else f"{low:.3g} to {high:.3g}, median {median:.3g}"


def cosine(value: float) -> str:
    """A cosine with two digits.

    >>> cosine(-0.001)
    '0.00'
    """
    return f"{round(value, 2) + 0.0:.2f}"  # no minus before a zero


def _problems(found: Inspection) -> list[tuple[str, str, str]]:
    rows = []
    for kind, meaning in PROBLEMS.items():
        some = [one for one in found.problems if one.kind == kind]
        names = {name for one in some for name in one.adapters}
        for place, one in enumerate(some[:_EXAMPLES]):
            rows.append(
                (meaning if place == 0 else "", (f"{len(names):,}" if names else "all") if place == 0 else "", one.text)
            )
        if len(some) > _EXAMPLES:
            rows.append(("", "", f"and {len(some) - _EXAMPLES:,} more"))
    return rows


def markdown(found: Inspection) -> str:
    """The inspection as a page of Markdown."""
    shown, summary = tables(found), verdict(found)
    lines = [
        f"# Inspection of {markdown_text(found.name, LONGEST)}",
        "",
        f"**{summary[:1].upper() + summary[1:]}.**",
        "",
    ]
    for table in shown:
        if table is not shown[0]:
            lines += [f"## {table.title}", ""]
        lines += [table.markdown(), ""]
    return "\n".join(lines)
