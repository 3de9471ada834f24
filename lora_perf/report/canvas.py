"""What every figure needs: names drawn as they are, by the fonts that are there, without a word on the terminal; its files."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lora_perf.core.text import printable
from lora_perf.io import store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

_LONGEST = 48  # characters of a name in a figure; a longer one would leave no room for what is drawn
_FONT = "DejaVu Sans"  # comes with matplotlib
# What people have for the scripts that it lacks; those that are installed are asked for a glyph in this order.
_OTHERS = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Noto Sans CJK KR",
        "Source Han Sans SC",
        "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei",
    ),
    *(
        "Droid Sans Fallback",
        "IPAexGothic",
        "IPAGothic",
        "Microsoft YaHei",
        "SimHei",
        "Yu Gothic",
        "Malgun Gothic",
        "PingFang SC",
    ),
    *(
        "Hiragino Sans",
        "Arial Unicode MS",
        "Unifont",
        "Noto Sans Devanagari",
        "Noto Sans Thai",
        "Noto Sans Symbols2",
        "Noto Emoji",
    ),
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
