"""Lines and tables of the terminal, in every encoding and width."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from rich.console import Console

from lora_perf.command import terminal
from lora_perf.core.tables import Table


def on(encoding: str, width: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Console, io.BytesIO]:
    """A console as a terminal of a width and an encoding has it."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline="", write_through=True))
    console = terminal.console()
    console.width = width
    return console, raw


def example() -> Table:
    cells = [":smile: [b]\x1b[0m" + "x" * 100, "0.152 [0.050, 0.378]", "+0.109 [-0.045, +0.263]"]
    return Table("\u732b [red]\n", ["name", "accuracy", "drop to [/]"], [cells], ["accuracy", "drop to [/]"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp437"])
def test_a_line_is_the_text_itself_and_nothing_it_holds_is_a_command(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    console, raw = on(encoding, 40, monkeypatch)
    terminal.say(console, "[red]x[/] :smile: \x1b[31m\n\u732b " + "y" * 100)
    shown = raw.getvalue().decode(encoding)
    cat = "\u732b" if encoding == "utf-8" else "\\u732b"
    assert shown == f"[red]x[/] :smile: \\x1b[31m\\n{cat} {'y' * 100}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("width", [1, 40, 60, 160])
def test_no_number_of_a_table_is_broken_in_two(encoding: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console, raw = on(encoding, width, monkeypatch)
    terminal.show(console, example())
    shown = raw.getvalue().decode(encoding)
    for number in ("0.152", "[0.050,", "0.378]", "+0.109", "[-0.045,", "+0.263]"):
        assert number in shown
    assert "\x1b[0m" not in shown
    if encoding != "utf-8":
        assert shown.isascii()


def test_a_table_keeps_to_a_terminal_that_is_wide_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    console, raw = on("ascii", 60, monkeypatch)
    terminal.show(console, example())
    rows = [line for line in raw.getvalue().decode().splitlines() if re.match(r"[|+]", line)]
    assert {len(line) for line in rows} == {60}


def test_the_output_is_160_wide_where_it_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal.console().width == 160
    monkeypatch.setattr(sys, "stdout", None)
    terminal.say(terminal.console(), "goes nowhere")


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.warnings_to_stderr():
        logging.getLogger("lora_perf.io").warning("%s: %d files", "a\nb\x1b[31m caf\udce9 100 %", 2)
        logging.getLogger("lora_perf.io").info("not shown")
    assert capsys.readouterr() == ("", "WARNING: a\\nb\\x1b[31m caf\\udce9 100 %: 2 files\n")
