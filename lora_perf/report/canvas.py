"""What every figure needs: names drawn as they are, by the fonts that are there, without a word on the terminal; its files."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lora_perf.classifiers.metrics import Estimate
from lora_perf.core.text import printable
from lora_perf.io import store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

_LONGEST = 48  # characters of a name in a figure; a longer one would leave no room for what is drawn
# Okabe and Ito's colours, which most colour-blind people can tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_FONT = "DejaVu Sans"  # comes with matplotlib
# What people have for the scripts that it lacks; those that are installed are asked for a glyph in this order.
_OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAexGothic", "IPAGothic", "Microsoft YaHei", "SimHei", "Yu Gothic"),
    *("Malgun Gothic", "PingFang SC", "Hiragino Sans", "Arial Unicode MS", "Unifont", "Noto Sans Devanagari"),
    *("Noto Sans Thai", "Noto Sans Symbols2", "Noto Emoji"),
)


@contextmanager
def drawing() -> Iterator[None]:
    """Settings under which figures are drawn; what matplotlib warns of goes to the log of the package, as information.

    With fixed ids and no date the same numbers give the same file.
    """
    silent, library = logging.NullHandler(), logging.getLogger("matplotlib")
    library.addHandler(silent)  # without one, warnings of the library's own logger would go to the terminal
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            from matplotlib import rc_context

            with rc_context({"svg.hashsalt": "lora_perf", "text.usetex": False, "font.family": list(_fonts())}):
                yield
        for text in dict.fromkeys(str(one.message) for one in told):
            _log.info("matplotlib: %s", text)
    finally:
        library.removeHandler(silent)


def canvas(width: float, height: float, panels: int, *, sharex: bool) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, of which pyplot knows nothing and which notebooks show, and its panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _shown_by_notebooks()(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, panels, sharex=sharex, sharey=True, squeeze=False)[0])


def intervals(axes: Axes, points: Iterable[tuple[float, Estimate]], turn: int, label: str | None = None) -> None:
    """Draws means with their intervals, each at its height; `turn` chooses colour and marker."""
    points = list(points)
    axes.errorbar(
        [one.mean for _, one in points],
        [height for height, _ in points],
        xerr=[[one.mean - one.low for _, one in points], [one.high - one.mean for _, one in points]],
        fmt=MARKERS[turn % len(MARKERS)],
        color=COLOURS[turn % len(COLOURS)],
        capsize=2.5,
        markersize=5,
        linewidth=1.2,
        label=label,
    )


def heights(count: int, turn: int, turns: int, spread: float = 0.5) -> list[float]:
    """Where the points of one of several turns stand: the first turn of a row on top."""
    return [place + spread * (0.5 - (turn + 0.5) / turns) for place in range(count)]


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names on the left of the axes, the first one at the bottom."""
    axes.set_yticks(range(len(names)), [figure_text(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)


def tidy(axes: Axes) -> None:
    """A grid for the numbers, and no frame around them."""
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


@cache
def _shown_by_notebooks() -> type[Figure]:
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return _rendered(self, "png")

    return Shown


def figure_text(text: str, most: int = _LONGEST) -> str:
    r"""A name as a figure draws it: no mathematics, no hidden label, and characters that no font has spelled out.

    >>> figure_text("price$5^$x")
    'price\\$5^\\$x'
    """
    text = printable(text, most)
    if not text.isascii():
        has = _glyphs()
        text = "".join(one if one.isascii() or ord(one) in has else one.encode("unicode_escape").decode() for one in text)
    # matplotlib leaves a label out of the legend that begins with an underscore.
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def write_figure(draw: Callable[[], Figure], path: Path, kinds: Sequence[str]) -> list[str]:
    """Draws a figure and writes its files, `path` with the ending of each kind; returns their names.

    A figure shows numbers that are written elsewhere, so that one that fails loses nothing else: a warning in one line says
    why, no name is returned and no file is left, also none of an earlier run.
    """
    files = [path.with_suffix(f".{kind}") for kind in kinds]
    try:
        with drawing():
            figure = draw()
            contents = [_rendered(figure, kind) for kind in kinds]
        for file, content in zip(files, contents, strict=True):
            with store.replacing(file) as out:
                out.write(content)
    except Exception as error:  # a library that is broken or absent, fonts that it cannot read, no room: whatever it is
        reason = " ".join(str(error).split()) or type(error).__name__
        _log.warning("no figure %s: %s", files[0], printable(reason, 300))
        remove_figures(files)
        return []
    return [file.name for file in files]


def remove_figures(files: Sequence[Path]) -> None:
    """Removes figures, where they are there, that show other numbers than the files beside them."""
    for file in files:
        with suppress(OSError):  # what cannot be removed cannot be replaced either, which `write_figure` tells
            file.unlink(missing_ok=True)


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


@cache
def _fonts() -> tuple[str, ...]:
    """The font of all figures and, after it, those installed that have other scripts."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return (_FONT, *(name for name in _OTHERS if name in installed))


@cache
def _glyphs() -> frozenset[int]:
    """The code points that the fonts can draw."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(point for name in _fonts() for point in FT2Font(findfont(name)).get_charmap())
