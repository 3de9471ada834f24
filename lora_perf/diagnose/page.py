"""A diagnosis as one page that needs no network, on a phone or a wide screen, in light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_perf.core.showing import size
from lora_perf.core.text import counted
from lora_perf.core.text import html as escaped
from lora_perf.diagnose.findings import Diagnosis, Reading, seconds

_LONG = 4000  # characters of a text that is shown

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --line: #d1d9e0; --paper: #fff; --soft: #f6f8fa;
  --ours: #0969da; --other: #8c959f; --worst: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --line: #3d444d; --paper: #0d1117;
  --soft: #151b23; --ours: #4493f8; --other: #656c76; --worst: #f85149; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.quiet, small { color: var(--quiet); }
.lead { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.n { white-space: nowrap; }
.wide { overflow-x: auto; } .wide td:nth-child(7) { min-width: 17rem; }
.bars { display: grid; grid-template-columns: minmax(9rem, 17rem) 1fr; gap: .35rem .8rem; align-items: center;
  font-size: .92rem; }
.bar { height: 1.1rem; border-radius: 3px; background: var(--other); min-width: 2px; flex: none; }
.bar.ours { background: var(--ours); } .bar.worst { background: var(--worst); }
.track { display: flex; align-items: center; gap: .5rem; }
.track span { white-space: nowrap; font-variant-numeric: tabular-nums; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto;
  font-size: .85rem; }
code { font-family: ui-monospace, monospace; }
@media (max-width: 34rem) { .bars { grid-template-columns: 1fr; gap: .1rem; } .track { margin-bottom: .5rem; } }
"""


def html_page(found: Diagnosis) -> str:
    """The page."""
    done = [one for one in found.readings if not one.error]
    busy = f"The machine did other work meanwhile ({_text(found.busy)}): read ratios, not clocks."
    scaled = "Bars are logarithmic. Each way was timed in turn with the others on a sample and scaled to the whole."
    parts = [
        f"<h1>{_text(found.name)}</h1>",
        f'<p class="quiet">{counted(found.adapters, "adapter")} of {counted(found.parameters, "parameter")}, '
        f"{size(found.nbytes)} of weights as float32. {_text(found.machine)}.</p>",
        f'<p class="lead">{_text(lead(found))}</p>',
        *([f'<p class="quiet">{busy}</p>'] if found.busy else []),
        "<h2>Seconds to read all of it</h2>",
        f'<div class="bars" role="img" aria-label="Seconds of each way, on a logarithmic scale">{"".join(_bars(done))}</div>',
        f"<p><small>{scaled}</small></p>",
        "<h2>How it is stored</h2>",
        _table(("", ""), [(what, told) for what, told in found.storage]),
        "<h2>Every way, and why</h2>",
        _table(
            ("way", "the whole", "GB/s", "times a copy", "peak memory, of its weights", "adapters read", "why"),
            [_row(one) for one in found.readings],
            numbers=range(1, 6),
        ),
        "<h2>Write this</h2>",
        f"<pre><code>{_text(found.advice)}</code></pre>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(found.name)}: what reading it costs</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def lead(found: Diagnosis) -> str:
    """What was found, in a sentence or two."""
    done = [one for one in found.readings if not one.error]
    ours = [one for one in done if one.ours]
    others = [one for one in done if not one.ours]
    if not ours or not others:
        return f"A copy of the same bytes takes {seconds(found.limit)}."
    best, worst, nearest = min(ours, key=lambda one: one.whole), others[-1], others[0]
    times = worst.whole / best.whole
    if times < 1.5:
        return f"Nothing here is slow: all ways take {seconds(worst.whole)} or less for all of it."
    told = (
        f"{worst.name} takes {seconds(worst.whole)} for all of it, {best.name} {seconds(best.whole)}: {times:,.0f} times less."
    )
    if nearest.whole < best.whole:
        return f"{told} {nearest.name} is faster still: {seconds(nearest.whole)}."
    return told


def _bars(readings: Sequence[Reading]) -> list[str]:
    if not readings:
        return []
    low, high = min(one.whole for one in readings) / 2, max(one.whole for one in readings)
    worst = max((one for one in readings if not one.ours), key=lambda one: one.whole, default=None)
    cells = []
    for one in readings:
        share = 100 * math.log(one.whole / low) / max(math.log(high / low), 1e-9)
        kind = " ours" if one.ours else " worst" if one is worst and len(readings) > 2 else ""
        cells.append(
            f"<div>{_text(one.name)}</div>"
            f'<div class="track"><div class="bar{kind}" style="width:calc((100% - 5.5rem) * {max(share, 1) / 100:.3f})" '
            f'title="{one.times_limit:,.1f} times a copy"></div>'
            f"<span>{seconds(one.whole)}</span></div>"
        )
    return cells


def _row(one: Reading) -> tuple[str, ...]:
    if one.error:
        return one.name, "fails", "", "", "", "", one.error
    peak = "" if one.peak is None else f"{one.peak:.1f}x"
    wrong = "" if one.equal else "OTHER VALUES than the data set holds. "
    sample = f"{one.adapters:,}" + ("" if one.share > 0.999 else f" ({one.share:.0%} of each)")
    return one.name, seconds(one.whole), f"{one.gb_per_s:.3g}", f"{one.times_limit:,.1f}", peak, sample, f"{wrong}{one.why}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    def cell(tag: str, place: int, text: str) -> str:
        kind = ' class="n"' if place in numbers else ""
        return f"<{tag}{kind}>{_text(text)}</{tag}>"

    head = "".join(cell("th", place, name) for place, name in enumerate(columns)) if any(columns) else ""
    body = "".join(f"<tr>{''.join(cell('td', place, text) for place, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="wide"><table>{f"<thead><tr>{head}</tr></thead>" if head else ""}<tbody>{body}</tbody></table></div>'


def _text(text: str) -> str:
    return escaped(text, _LONG)
