"""A diagnosis as one page that needs no network, on a phone or a wide screen, in light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_perf.core.pages import document, table, text
from lora_perf.core.showing import duration, size
from lora_perf.core.text import counted
from lora_perf.diagnose.findings import Diagnosis, Reading


def html_page(found: Diagnosis) -> str:
    """The page."""
    done = [one for one in found.readings if not one.error]
    busy = f"The machine did other work meanwhile ({text(found.busy)}): read ratios, not clocks."
    scaled = "Bars are logarithmic. Each way was timed in turn with the others on a sample and scaled to the whole."
    parts = [
        f"<h1>{text(found.name)}</h1>",
        f'<p class="quiet">{counted(found.adapters, "adapter")} of {counted(found.parameters, "parameter")}, '
        f"{size(found.nbytes)} of weights as float32. {text(found.machine)}.</p>",
        f'<p class="lead">{text(lead(found))}</p>',
        *([f'<p class="quiet">{busy}</p>'] if found.busy else []),
        "<h2>Seconds to read all of it</h2>",
        f'<div class="bars" role="img" aria-label="Seconds of each way, on a logarithmic scale">{"".join(_bars(done))}</div>',
        f"<p><small>{scaled}</small></p>",
        "<h2>How it is stored</h2>",
        table(("", ""), [(what, told) for what, told in found.storage]),
        "<h2>Every way, and why</h2>",
        table(
            ("way", "the whole", "GB/s", "times a copy", "peak memory, of its weights", "adapters read", "why"),
            [_row(one) for one in found.readings],
            range(1, 6),
            "long",
        ),
        "<h2>Write this</h2>",
        f"<pre><code>{text(found.advice)}</code></pre>",
    ]
    return document(f"{found.name}: what reading it costs", parts)


def lead(found: Diagnosis) -> str:
    """What was found, in a sentence or two."""
    done = [one for one in found.readings if not one.error]
    ours = [one for one in done if one.ours]
    others = [one for one in done if not one.ours]
    if not ours or not others:
        return f"A copy of the same bytes takes {duration(found.limit)}."
    best, worst, nearest = min(ours, key=lambda one: one.whole), others[-1], others[0]
    times = worst.whole / best.whole
    if times < 1.5:
        return f"Nothing here is slow: all ways take {duration(max(one.whole for one in done))} or less for all of it."
    longest, shortest = duration(worst.whole), duration(best.whole)
    told = f"{worst.name} takes {longest} for all of it, {best.name} {shortest}: {times:,.0f} times less."
    if nearest.whole < best.whole:
        return f"{told} {nearest.name} is faster still: {duration(nearest.whole)}."
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
            f"<div>{text(one.name)}</div>"
            f'<div class="track"><div class="bar{kind}" style="width:calc((100% - 5.5rem) * {max(share, 1) / 100:.3f})" '
            f'title="{one.times_limit:,.1f} times a copy"></div>'
            f"<span>{duration(one.whole)}</span></div>"
        )
    return cells


def _row(one: Reading) -> tuple[str, ...]:
    if one.error:
        return one.name, "fails", "", "", "", "", one.error
    peak = "" if one.peak is None else f"{one.peak:.1f}x"
    wrong = "" if one.equal else "OTHER VALUES than the data set holds. "
    sample = f"{one.adapters:,}" + ("" if one.share > 0.999 else f" ({one.share:.0%} of each)")
    return one.name, duration(one.whole), f"{one.gb_per_s:.3g}", f"{one.times_limit:,.1f}", peak, sample, f"{wrong}{one.why}"
