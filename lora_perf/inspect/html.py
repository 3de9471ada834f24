"""An inspection as one page that needs no network: what was found first, then figures, tables and settings."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log
from statistics import fmean, median
from typing import TYPE_CHECKING

from lora_perf.core.charts import Bar, bars, histogram, side_by_side
from lora_perf.core.errors import listed
from lora_perf.core.pages import document, table, text
from lora_perf.core.text import counted
from lora_perf.inspect.pages import MODULE_COLUMNS, PROBLEMS, cosine, facts, module_rows

if TYPE_CHECKING:
    from lora_perf.inspect.findings import Finding, Inspection

_ROWS = 300  # of a table; the JSON file has all
_BARS = 40
_STRANGEST = 20  # adapters
_ON_HOVER = 40  # names
_KINDS = {"identical": "the same factors", "same dW": "same dW, other factors", "near": "nearly the same dW"}


def html_page(found: Inspection) -> str:
    """The page."""
    parts = [
        f"<h1>{text(found.name)}</h1>",
        f'<p class="quiet">{text(_about(found))}</p>',
        f'<p class="lead">{text(" ".join(told(found)))}</p>',
        *_findings(found),
        *_repeats(found),
        *_sizes(found),
        *_modules(found),
        *_classes(found),
        "<h2>How it was made</h2>",
        f"<pre><code>{text(command(found))}</code></pre>",
        table(("", ""), [*facts(found), *_made(found)]),
    ]
    return document(f"Inspection of {found.name}", parts)


def told(found: Inspection) -> list[str]:
    """What was found, in three sentences made of the numbers."""
    return [_wrong(found), _repeated(found), _spread(found)]


def command(found: Inspection) -> str:
    """The command that makes this inspection again; of a zoo in memory, the call."""
    config = found.config
    if not config["path"]:
        return f"lora_perf.inspect.run(zoo, near={config['near']:g}, label_column={config['label_column']!r})"
    words = ["lora-perf", "inspect", config["path"], "--near", f"{config['near']:g}"]
    words += ["--label-column", str(config["label_column"])]
    for name in ("split", "threads", "scheduler"):
        words += [f"--{name}", str(config[name])] if config[name] is not None else []
    return shlex.join(words)


def _about(found: Inspection) -> str:
    classes = f" in {counted(len(found.classes), 'class', 'classes')}" * bool(found.classes)
    size = f" of {counted(found.modules, 'module')} and {counted(found.parameters, 'parameter')}" * bool(found.modules)
    return f"{counted(found.adapters, 'adapter')}{size}{classes}."


def _total(found: Inspection) -> int:
    return found.adapters if found.files is None else max(found.files.found, found.adapters)


def _wrong(found: Inspection) -> str:
    total, bad = _total(found), {name for one in found.problems for name in one.adapters}
    if not found.problems:
        return f"Nothing is wrong with {counted(total, 'adapter')}."
    kinds = []
    for kind, meaning in PROBLEMS.items():
        some = [one for one in found.problems if one.kind == kind]
        names = {name for one in some for name in one.adapters}
        kinds += [f"{meaning} ({len(names) or 'all':{',' if names else ''}})"] if some else []
    who = f"{len(bad):,} of {counted(total, 'adapter')}" if bad else f"all of {counted(total, 'adapter')}"
    return f"Something is wrong with {who}: {listed(kinds, 4)}."


def _repeated(found: Inspection) -> str:
    if not found.repeats:
        return f"No adapter repeats another: no two have the same update dW, or a cosine of {found.near:g} or more."
    counts = Counter(one.kind for one in found.repeats)
    same = counts["identical"] + counts["same dW"]
    other = sum(one.same_class is False for one in found.repeats)
    of_class = f"; {other:,} of them {'is' if other == 1 else 'are'} of another class than what is repeated"
    exactly = f"{same:,} exactly and {counts['near']:,} nearly (cosine of dW of at least {found.near:g})"
    who = counted(len(found.repeats), "adapter repeats an earlier one", "adapters repeat an earlier one")
    return (
        f"{who}, {exactly}{of_class * bool(other)}: trained on the one and tested on the other, a classifier only has to "
        "remember."
    )


def _spread(found: Inspection) -> str:
    norms = [norm for norm in found.norms.values() if norm > 0]
    if not norms:
        return "No update dW that differs from 0 was found."
    parts = [f"|dW| is {median(norms):.3g} at the median and goes from {min(norms):.3g} to {max(norms):.3g}"]
    ranks = _ranks(found)
    if ranks and found.effective_ranks:
        ends = f"{min(ranks)}" if len(ranks) == 1 else f"{min(ranks)} to {max(ranks)}"
        effective = fmean(found.effective_ranks.values())
        parts.append(f"factors of rank {ends} make updates of an effective rank of {effective:.2f} on average")
    if found.initial and found.initial.verdict != "unknown":
        began = {"shared": "A began as one for all", "per adapter": "each adapter began with an A of its own"}
        parts.append(began.get(found.initial.verdict, "A began neither as one for all nor as one for each"))
    return f"{'; '.join(parts)}."


def _ranks(found: Inspection) -> dict[int, int]:
    ranks = Counter[int]()
    for kind in found.kinds:
        ranks.update(kind.ranks)
    return dict(sorted(ranks.items()))


def _findings(found: Inspection) -> list[str]:
    if not found.findings:
        return []
    rows, counted_kinds = [], []
    for wrong, some in ((True, found.problems), (False, found.notes)):
        by_kind: dict[str, list[Finding]] = {}
        for one in some:
            by_kind.setdefault(one.kind, []).append(one)
        for kind, of_kind in by_kind.items():
            names = list(dict.fromkeys(name for one in of_kind for name in one.adapters))
            if names or wrong:
                value = len(names) or _total(found)
                about = PROBLEMS.get(kind, kind) if wrong else kind
                hover = f"{about}: {listed(names, _ON_HOVER) or 'all adapters'}"
                counted_kinds.append(Bar(kind, value, f"{value:,}", hover, "worst" if wrong else "other"))
            rows += [("fault" if wrong else "note", one) for one in of_kind]
    cells = [(grade, text(one.kind), _hovered(one.adapters) if one.adapters else "", text(one.text)) for grade, one in rows]
    return [
        "<h2>Faults and warnings</h2>",
        bars(counted_kinds, "adapters with each fault or warning") if counted_kinds else "",
        table(("", "kind", "adapters", "which"), cells[:_ROWS], [2], "sorted long", raw=True),
        _more(len(cells)),
    ]


def _hovered(names: Sequence[str]) -> str:
    return f'<span title="{text(listed(names, _ON_HOVER))}">{len(names):,}</span>'


def _more(count: int) -> str:
    return f"<p><small>{_ROWS:,} of {count:,} are shown; inspect.json has all.</small></p>" if count > _ROWS else ""


def _repeats(found: Inspection) -> list[str]:
    if not found.repeats:
        return []
    of_kind = {kind: [one for one in found.repeats if one.kind == kind] for kind in _KINDS}
    rows = []
    for kind, some in of_kind.items():
        told = f"{_KINDS[kind]}: {listed((f'{one.adapter} = {one.of}' for one in some), _ON_HOVER)}"
        rows += [Bar(_KINDS[kind], len(some), f"{len(some):,}", told, "worst")] * bool(some)
    moved = {f"{one.adapter} = {one.of}": one.distance for one in found.repeats if one.distance > 0}
    drawn = [bars(rows, "adapters that repeat another one")]
    if len(moved) > 2:
        drawn.append(histogram(moved, "|dW' - dW| / |dW| of those that are not identical", "pair"))
    classes = {True: "the same", False: "another", None: ""}
    cells = [
        (one.adapter, one.of, one.kind, f"{one.cosine:.6f}", f"{one.distance:.2g}", classes[one.same_class])
        for one in found.repeats[:_ROWS]
    ]
    columns = ("adapter", "repeats", "by", "cosine of dW", "|dW' - dW| / |dW|", "class")
    return [
        "<h2>Adapters that repeat another</h2>",
        side_by_side(drawn),
        table(columns, cells, (3, 4), "sorted"),
        _more(len(found.repeats)),
    ]


def _sizes(found: Inspection) -> list[str]:
    norms = {name: norm for name, norm in found.norms.items() if norm > 0}  # updates of 0 stand among the faults
    drawn = [histogram(norms, "|dW| of an adapter, all modules together")] if norms else []
    if found.effective_ranks:
        drawn.append(histogram(found.effective_ranks, "effective rank of dW, mean over modules"))
    ranks = _ranks(found)
    if len(ranks) > 1:
        total = sum(ranks.values())
        of_rank = [
            Bar(f"rank {rank}", count, f"{count / total:.3g}", f"rank {rank}: {counted(count, 'module')} of all adapters")
            for rank, count in list(ranks.items())[:_BARS]
        ]
        drawn.append(bars(of_rank, "share of modules by rank", total))
    if not drawn:
        return []
    sampled = ""
    if 0 < len(found.effective_ranks) < len(found.norms):
        sampled = f" Effective ranks are those of {counted(len(found.effective_ranks), 'adapter')}."
    about = (
        "The effective rank is the exponential of the entropy of the singular values over their sum (Roy and Vetterli 2007): "
        f"how many directions an update really uses.{sampled}"
    )
    return [
        "<h2>How large the updates are, and how many directions they use</h2>",
        side_by_side(drawn),
        f"<p><small>{about}</small></p>",
        *_strangest(found),
    ]


def _strangest(found: Inspection) -> list[str]:
    norms = {name: norm for name, norm in found.norms.items() if norm > 0}
    if len(norms) < 3:
        return []
    middle = median(norms.values())
    order = sorted(norms, key=lambda name: -abs(log(norms[name] / middle)))[:_STRANGEST]
    cells = [
        (name, f"{norms[name]:.4g}", f"{norms[name] / middle:.3g}", _number(found.effective_ranks.get(name))) for name in order
    ]
    columns = ("adapter", "|dW|", "times the median", "effective rank")
    title = f"{counted(len(order), 'adapter')} whose |dW| is farthest from the median"
    return [f"<details><summary>{title}</summary>{table(columns, cells, (1, 2, 3), 'sorted')}</details>"]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _modules(found: Inspection) -> list[str]:
    if not found.kinds:
        return []
    shown = found.kinds[:_BARS]
    drawn = [bars([Bar(one.name, one.norm, f"{one.norm:.3g}") for one in shown], "median |dW| of a module")]
    cosines = [Bar(one.name, max(0.0, one.cosine), cosine(one.cosine), kind="other") for one in shown if one.cosine is not None]
    drawn += [bars(cosines, "cosine between the A's of two adapters", 1.0)] * bool(cosines)
    initial = f"<p>How A began: {text(found.initial.meaning)}.</p>" if found.initial else ""
    return [
        "<h2>Modules</h2>",
        side_by_side(drawn),
        initial,
        table(MODULE_COLUMNS, module_rows(found), range(1, len(MODULE_COLUMNS)), "sorted"),
    ]  # fmt: skip


def _classes(found: Inspection) -> list[str]:
    if not found.classes:
        return []
    some = list(found.classes.items())[:_BARS]
    more = f"<p><small>The {_BARS} largest of {len(found.classes):,}.</small></p>" * (len(found.classes) > _BARS)
    return ["<h2>Classes</h2>", bars([Bar(name, n, f"{n:,}") for name, n in some], "adapters of each class"), more]


def _made(found: Inspection) -> Iterable[tuple[str, str]]:
    """Seconds, settings, machine and versions."""
    yield "seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in found.seconds.items())
    for name, value in {**found.config, **found.machine, **found.versions}.items():
        yield name, str(value)
