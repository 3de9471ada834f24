"""A trace as one page: needs no network and no script."""

from __future__ import annotations

from collections.abc import Sequence

from lora_perf.core.provenance import machine, versions
from lora_perf.core.showing import size
from lora_perf.core.tables import Table
from lora_perf.core.text import html
from lora_perf.profiling.found import Trace
from lora_perf.profiling.ranges import Range
from lora_perf.profiling.sampling import Held

_WIDTH, _ROW, _LEFT, _FOOT = 1000, 22, 70, 22  # of the drawings
_STRIP = 6  # below the stages, where windows are seen whatever stands above
_HIGH = 160  # of the drawing of memory
_DRAWN = 1500  # ranges, and points of a curve, that one drawing shows
_NARROW = 0.25  # of a unit of the drawing: shorter ranges are left to the viewers
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #fff; --line: #d5dae0; --shade: #f4f6f8 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa4af; --paper: #14171b; --line: #343a41; --shade: #1d2126 }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 80rem;
  padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem } p { margin: .3rem 0; color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .22rem .4rem; text-align: left; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600 } .right { text-align: right } tr:hover td { background: var(--shade) }
td:first-child, code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .78rem; white-space: pre }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif } svg text { fill: var(--ink) }
.soft { fill: var(--soft) !important } .axis { stroke: var(--line) } .window { fill: #888; opacity: .35 }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; vertical-align: -.05em }
"""


def page_of(found: Trace, file: str) -> str:
    """The page.

    Args:
        file: the name of the Chrome trace that lies beside it.
    """
    stages, operators, lines = found.tables()
    about = {**versions(), **{name: str(value) for name, value in machine_facts().items()}}
    parts = [
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>Trace {html(found.title)}</title>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>Trace {html(found.title)}</h1>",
        *(f"<p>{html(line)}</p>" for line in found.told()),
        f"<p>every event: open <code>{html(file)}</code> at ui.perfetto.dev, or run tensorboard --logdir on its folder</p>",
        "<h2>When: stages</h2>",
        "<p>grey: operators were recorded</p>",
        _timeline(found),
        "<h2>Memory over time</h2>",
        _memory(found),
        _table(stages),
        _table(operators),
        _table(lines),
        "<h2>Of what</h2>",
        f"<p>{html(', '.join(f'{name} {value}' for name, value in about.items()), 2000)}</p>",
        "</body></html>\n",
    ]
    return "\n".join(parts)


def machine_facts() -> dict[str, str | int]:
    import torch

    return machine(torch.device("cuda" if torch.cuda.is_initialized() else "cpu"))


def _table(table: Table) -> str:
    kinds = ["right" if name in table.right else "" for name in table.columns]
    head = "".join(f"<th class='{kind}'>{html(name)}</th>" for name, kind in zip(table.columns, kinds, strict=True))
    rows = "".join(
        "<tr>"
        + "".join(f"<td class='{kind}'>{html(cell, 160)}</td>" for cell, kind in zip(row, kinds, strict=True))
        + "</tr>\n"
        for row in table.rows
    )
    drawn = f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>" if table.rows else "<p>none</p>"
    return f"<h2>{html(table.title)}</h2><div class='wide'>{drawn}</div>"


def _timeline(found: Trace) -> str:
    """Ranges of the traced thread, the outermost above."""
    ranges = [one for one in found.ranges if one.thread == found.thread]
    begin = min(one.begin for one in ranges)
    scale = (_WIDTH - _LEFT) / max(1, max(one.end for one in ranges) - begin)
    depth = max(len(one.path) for one in ranges)
    height = depth * _ROW + _STRIP + _FOOT
    names = list(dict.fromkeys(one.path[-1] for one in sorted(ranges, key=lambda one: one.begin)))
    drawn = [one for one in ranges if (one.end - one.begin) * scale >= _NARROW]
    drawn = sorted(drawn, key=lambda one: one.begin - one.end)[:_DRAWN]
    marks = [
        f"<rect class='window' x='{_LEFT + (first - begin) * scale:.2f}' y='0' width='{max(0.5, (last - first) * scale):.2f}' "
        f"height='{depth * _ROW + _STRIP}'/>"
        for first, last in found.windows
    ]
    marks += [_bar(one, begin, scale, _COLOURS[names.index(one.path[-1]) % len(_COLOURS)]) for one in drawn]
    return _drawing(height, marks + _axis(depth * _ROW + _STRIP, found.seconds), "stages over time")


def _bar(one: Range, begin: int, scale: float, colour: str) -> str:
    x, width = _LEFT + (one.begin - begin) * scale, (one.end - one.begin) * scale
    y = (len(one.path) - 1) * _ROW
    letters = int(width / 7)
    name = one.path[-1] if len(one.path[-1]) <= letters else one.path[-1][: max(0, letters - 1)] + "…"
    text = f"<text x='{x + 4:.2f}' y='{y + 15}' style='fill:#fff'>{html(name)}</text>" if letters >= 3 else ""
    told = html(f"{' / '.join(one.path)}: {one.seconds:.3f} s")
    bar = f"<rect x='{x:.2f}' y='{y + 1}' width='{max(width, 0.4):.2f}' height='{_ROW - 2}' rx='2' fill='{colour}'/>"
    return f"<g><title>{told}</title>{bar}{text}</g>"


def _memory(found: Trace) -> str:
    held = _thinned(found.held)
    begin, end = held[0].moment, max(held[-1].moment, held[0].moment + 1)
    curves = [("the process's own", _COLOURS[0], [one.resident - one.mapped for one in held])]
    curves.append(("pages of mapped files", _COLOURS[1], [one.mapped for one in held]))
    if any(one.device for one in held):
        curves.append(("tensors on the GPU", _COLOURS[2], [one.device for one in held]))
    top = max(1, *(max(values) for _, _, values in curves)) * 1.08
    marks = []
    for share in (0.0, 0.5, 1.0):
        y = _HIGH - share * (_HIGH - 8) / 1.08
        marks.append(f"<line class='axis' x1='{_LEFT}' x2='{_WIDTH}' y1='{y:.1f}' y2='{y:.1f}'/>")
        marks.append(
            f"<text class='soft' x='{_LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{size(int(share * top / 1.08))}</text>"
        )
    for _, colour, values in curves:
        points = " ".join(
            f"{_LEFT + (one.moment - begin) / (end - begin) * (_WIDTH - _LEFT):.1f},{_HIGH - value / top * (_HIGH - 8):.1f}"
            for one, value in zip(held, values, strict=True)
        )
        marks.append(f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.6'/>")
    keys = "".join(
        f"<span class='key' style='background:{colour}'></span>{name}, most {size(max(v))}" for name, colour, v in curves
    )
    drawing = _drawing(_HIGH + _FOOT, marks + _axis(_HIGH, (end - begin) / 1e9), "memory over time")
    return f"<p>{keys}</p>{drawing}"


def _thinned(held: Sequence[Held]) -> list[Held]:
    """At most some moments: of neighbours the one with the most memory."""
    step = -(-len(held) // _DRAWN)
    chunks = [held[start : start + step] for start in range(0, len(held), step)]
    return [max(chunk, key=lambda one: one.resident - one.mapped) for chunk in chunks]


def _axis(y: int, seconds: float) -> list[str]:
    marks = []
    for turn in range(6):
        x = _LEFT + turn * (_WIDTH - _LEFT) / 5
        anchor = "end" if turn == 5 else "middle" if turn else "start"
        marks.append(f"<text class='soft' x='{x:.1f}' y='{y + 16}' text-anchor='{anchor}'>{seconds * turn / 5:.3g} s</text>")
    return marks


def _drawing(height: int, marks: Sequence[str], title: str) -> str:
    return f"<svg viewBox='0 0 {_WIDTH} {height}' role='img' aria-label='{title}'>{''.join(marks)}</svg>"
