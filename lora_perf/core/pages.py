"""Pages of HTML that need no network: one frame and one style, on a phone or a wide screen, in light or dark."""

from __future__ import annotations

from collections.abc import Container, Sequence

from lora_perf.core.tables import Table
from lora_perf.core.text import html as escaped

_LONG = 4000  # characters of a text that is shown

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #59636e; --line: #d1d9e0; --paper: #fff; --soft: #f6f8fa;
  --ours: #0969da; --other: #8c959f; --worst: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --line: #3d444d; --paper: #0d1117;
  --soft: #151b23; --ours: #4493f8; --other: #656c76; --worst: #f85149; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p.quiet, small { color: var(--quiet); }
.lead { font-size: 1.1rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.n { white-space: nowrap; }
table.sorted th { cursor: pointer; } table.sorted th:hover { color: var(--ours); }
.wide { overflow-x: auto; } .long td:last-child { min-width: 17rem; }
.bars { display: grid; grid-template-columns: minmax(9rem, 17rem) 1fr; gap: .35rem .8rem; align-items: center;
  font-size: .92rem; }
.bar { height: 1.1rem; border-radius: 3px; background: var(--other); min-width: 2px; flex: none; }
.bar.ours { background: var(--ours); } .bar.worst { background: var(--worst); }
.track { display: flex; align-items: center; gap: .5rem; }
.track span { white-space: nowrap; font-variant-numeric: tabular-nums; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto;
  font-size: .85rem; }
code { font-family: ui-monospace, monospace; }
svg { width: 100%; height: auto; display: block; font: 13px system-ui, sans-serif; } svg text { fill: var(--ink); }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 0 2rem; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .6rem 1.4rem;
  align-items: end; }
button.save { font: .75rem system-ui, sans-serif; color: var(--quiet); background: none; border: 0; padding: .1rem 0;
  cursor: pointer; text-decoration: underline; }
th[aria-sort=ascending]::after { content: " \\25b4"; } th[aria-sort=descending]::after { content: " \\25be"; }
@media (max-width: 34rem) { .bars { grid-template-columns: 1fr; gap: .1rem; } .track { margin-bottom: .5rem; } }
"""
# A click on the head of a column sorts by it, once more the other way round; cells of class n are numbers and stand first.
_SORT = """
for (const table of document.querySelectorAll("table.sorted")) table.querySelectorAll("th").forEach((head, place, heads) => {
  head.onclick = () => {
    const body = table.tBodies[0], key = row => { const cell = row.cells[place], number = parseFloat(cell.textContent
      .replace(/[,%<>=]/g, "")); return cell.classList.contains("n") && !Number.isNaN(number) ? number : cell.textContent; };
    const compared = (x, y) => typeof x !== typeof y ? (typeof x === "number" ? -1 : 1)
      : typeof x === "number" ? x - y : x.localeCompare(y, undefined, {numeric: true});
    const way = head.ariaSort === "ascending" ? -1 : 1;
    heads.forEach(one => { one.ariaSort = null; });
    head.ariaSort = way > 0 ? "ascending" : "descending";
    [...body.rows].sort((a, b) => way * compared(key(a), key(b))).forEach(row => body.append(row));
  };
});
"""
# Below each drawing a button saves it as a file of its own, in the colours that are shown.
_SAVE = """
const paint = getComputedStyle(document.documentElement);
document.querySelectorAll("svg").forEach((drawing, place) => {
  const button = document.createElement("button");
  button.className = "save";
  button.textContent = "save as SVG";
  button.onclick = () => {
    const copy = drawing.cloneNode(true), style = document.createElementNS(drawing.namespaceURI, "style");
    style.textContent = "svg { font: 13px sans-serif; background: var(--paper) } text { fill: var(--ink) }";
    const [, , width, height] = drawing.getAttribute("viewBox").split(" ");
    copy.removeAttribute("style");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    copy.prepend(style);
    const written = new XMLSerializer().serializeToString(copy)
      .replace(/var\\((--[a-z]+)\\)/g, (_, name) => paint.getPropertyValue(name).trim());
    const link = document.createElement("a"), name = drawing.getAttribute("aria-label") || `figure ${place + 1}`;
    link.download = `${name.replace(/[^A-Za-z0-9.-]+/g, "-")}.svg`;
    link.href = URL.createObjectURL(new Blob([written], {type: "image/svg+xml"}));
    link.click();
    URL.revokeObjectURL(link.href);
  };
  drawing.after(button);
});
"""


def document(title: str, parts: Sequence[str]) -> str:
    """A page of parts that are HTML already; the title is a text."""
    needed = ((_SORT, 'class="sorted'), (_SAVE, "<svg"))
    code = "".join(script for script, of in needed if any(of in part for part in parts))
    script = f"<script>{code}</script>" if code else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n{script}</body></html>\n"
    )


def text(words: str) -> str:
    """A text whose signs mean nothing to HTML.

    >>> text("a < b & c")
    'a &lt; b &amp; c'
    """
    return escaped(words, _LONG)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Container[int] = (), kind: str = "", *, raw: bool = False
) -> str:
    """A table of texts.

    Args:
        numbers: the places of columns that stand on the right.
        kind: `sorted` where a click on a head sorts, `long` where the last column is of sentences, or "sorted long".
        raw: whether cells are HTML already.

    >>> table(("",), [("<1>",)], [0])
    '<div class="wide"><table><tbody><tr><td class="n">&lt;1&gt;</td></tr></tbody></table></div>'
    """

    def cell(tag: str, place: int, words: str) -> str:
        right = ' class="n"' if place in numbers else ""
        return f"<{tag}{right}>{words if raw and tag == 'td' else text(words)}</{tag}>"

    head = "".join(cell("th", place, name) for place, name in enumerate(columns)) if any(columns) else ""
    body = "".join(f"<tr>{''.join(cell('td', place, words) for place, words in enumerate(row))}</tr>" for row in rows)
    of_kind = f' class="{kind}"' if kind else ""
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="wide"><table{of_kind}>{top}<tbody>{body}</tbody></table></div>'


def sortable(one: Table) -> str:
    """A table whose columns a click on their heads sorts; its title is left to the page.

    >>> '<table class="sorted">' in sortable(Table("", ("a",), [("1",)]))
    True
    """
    right = [place for place, name in enumerate(one.columns) if name in one.right]
    return table(one.columns, one.rows, right, "sorted")
