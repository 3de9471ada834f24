"""Names of every kind in every file of a report; figures that fail, or are of another run."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from lora_perf import report
from lora_perf.command import terminal
from lora_perf.report import figures
from lora_perf.report.canvas import drawing, figure_text, write_figure
from lora_perf.report.results import Results
from lora_perf.report.summary import results_table
from tests.report.test_report import cell, results

ODD = (
    *("price$5^$x", "a$b", r"\frac{1}{", "_hidden", "loras[sd15]", "[/]", "[red]x", ":smile:", "\x1b[31mred\x1b]8;;x\x07"),
    *("a\r\nb\tc\0", "\u202egnp\u200b", "=1+1", "@x", "-y", "![x](http://y)|`z`", "<b>&amp;", "\u732b\U0001f600", "caf\udce9"),
    *("%s {} {0}", "-- -->", "x" * 10_000),
)

# Several kinds in one name each, since a report with its figures takes a second.
SEVERAL = (
    *(r"_price$5^$x\frac{1}{", "[red]loras[sd15][/]:smile:", "=1\x1b[31m\r\nb\tc\0\u202eg\u200b"),
    *("-- --><b>&amp;![x](http://y)|`z`", "@\u732b\U0001f600caf\udce9 %s {}", "x" * 10_000),
)


WITHOUT_FIGURES = ["summary.md", "report.html", "results.json", "results.csv", "predictions.csv"]


def named(name: str) -> Results:
    """Results whose zoo and whose second group have a name."""
    found = results(["all", name], [cell("stats", "all", "mlp", 30, 32), cell("stats", name, "mlp", 20, 21)])
    found.dataset["name"] = name
    return found


@pytest.mark.parametrize("name", SEVERAL)
def test_a_report_of_any_name_is_whole(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        files = report.write(named(name), tmp_path)
    assert caplog.messages == []
    assert set(files) == {
        "summary.md",
        "report.html",
        "results.json",
        "results.csv",
        "predictions.csv",
        *(f"{one}.{kind}" for one in ("accuracy", "drop") for kind in ("svg", "png")),
    }
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert (stored["dataset"]["name"], stored["cells"][1]["group"]) == (name, name)
    table = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text(), newline="")))
    assert [float(row["accuracy"]) for row in table] == [30 / 40, 32 / 40, 20 / 40, 21 / 40]
    assert not table[2]["group"].startswith(("=", "+", "-", "@"))
    lines = (tmp_path / "summary.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| stats | ")]
    assert [row.replace("\\|", "").count("|") for row in rows] == [17, 17]
    assert lines[0].startswith("# Ablation of ")
    assert lines[1] == ""
    ElementTree.fromstring((tmp_path / "accuracy.svg").read_text())


@pytest.mark.parametrize("name", ODD)
def test_the_terminal_shows_a_name_as_it_is(name: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii", errors="backslashreplace", newline="")
    terminal.show(Console(file=stream, width=40, force_terminal=True, color_system=None), results_table(named(name)))
    stream.flush()
    shown = raw.getvalue().decode("ascii")
    assert "\x1b]" not in shown
    assert "\x1b[31m" not in shown
    assert max(map(len, shown.splitlines())) < 120
    if name.isascii() and name.isprintable() and len(name) < 12:
        assert name in shown


@pytest.mark.parametrize("name", ["price$5^$x", "a$b", "$", r"\$5", r"\frac{1}{", "_hidden", "{}", "a_b^c"])
def test_a_figure_draws_the_characters_of_a_name_and_no_mathematics(name: str, tmp_path: Path) -> None:
    with drawing():
        figure = Figure()
        text = figure.text(0.1, 0.5, figure_text(name))
        figure.savefig(io.BytesIO(), format="svg")
        drawn, is_math = text._preprocess_math(text.get_text())  # what matplotlib hands to its renderer
    assert not is_math
    assert drawn.strip() == name


def test_characters_that_no_font_has_are_spelled_out() -> None:
    private = "\U000f0000"
    assert figure_text(f"a{private}\u00e9") == r"a\U000f0000" + "\u00e9"


def test_drawing_says_nothing_and_raises_nothing_where_warnings_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def draw() -> Figure:
        warnings.warn("Glyph missing", UserWarning, stacklevel=1)
        logging.getLogger("matplotlib.font_manager").warning("findfont")
        return Figure()

    with caplog.at_level(logging.INFO, "lora_perf"):
        assert write_figure(draw, tmp_path / "a", ["svg"]) == ["a.svg"]
    assert capsys.readouterr() == ("", "")
    assert "matplotlib: Glyph missing" in caplog.messages


def test_a_figure_that_fails_loses_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = named("visual")
    report.write(found, tmp_path)
    monkeypatch.setitem(figures.DRAWN, "accuracy", lambda _: 1 / 0)
    files = report.write(found, tmp_path)
    assert files == [*WITHOUT_FIGURES, "drop.svg", "drop.png"]
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    page = (tmp_path / "summary.md").read_text()
    assert "(drop.svg)" in page
    assert "accuracy.svg" not in page
    (message,) = caplog.messages
    assert "accuracy.svg: division by zero" in message


def test_without_matplotlib_there_are_no_figures_and_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert report.write(named("visual"), tmp_path) == [
        "summary.md",
        "report.html",
        "results.json",
        "results.csv",
        "predictions.csv",
    ]
    assert "svg" not in (tmp_path / "summary.md").read_text()
    assert len(caplog.messages) == 2
    assert all("matplotlib" in message for message in caplog.messages)


def test_the_figures_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    report.write(named("visual"), tmp_path)
    (tmp_path / "mine.svg").write_text("a file of the user")
    files = report.write(results(["all"], [cell("stats", "all", "mlp", 30, 32)]), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*files, "mine.svg"}
    assert "drop.svg" not in files


def test_numbers_and_summary_are_there_before_the_first_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(figures.DRAWN, "accuracy", ended)
    with pytest.raises(KeyboardInterrupt):
        report.write(named("visual"), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.md",
        "report.html",
        "results.json",
        "results.csv",
        "predictions.csv",
    }
