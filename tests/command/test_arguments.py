"""Command lines and the modules that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import lora_perf
from lora_perf.command.arguments import parsed
from lora_perf.core.errors import LoraPerfError


@dataclass(frozen=True)
class Settings:
    """A few settings."""

    source: str
    """What to read."""
    runs: int = 3
    """How often."""

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise LoraPerfError(expected="--runs of at least 1", found=str(self.runs), fix="change --runs")


def test_settings_are_of_their_own_class_and_modules_may_stand_anywhere() -> None:
    found = parsed(Settings, ["--import", "json", "here", "--import=csv", "--runs", "5"], "example", positional=True)
    assert found == Settings("here", 5)
    assert type(found) is Settings


def test_a_command_without_words_has_its_defaults() -> None:
    @dataclass(frozen=True)
    class Defaults:
        """A few settings."""

        runs: int = 3

    assert parsed(Defaults, [], "example") == Defaults()


def test_the_help_shows_settings_and_modules(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(Settings, ["--help"], "example", positional=True)
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(
        one in text for one in ("A few settings.", "What to read.", "How often.", "--import MODULE", "repeated", "--version")
    )


def test_the_version_is_shown_wherever_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(Settings, ["here", "--version", "--nonsense"], "example", positional=True)
    assert ended.value.code is None
    assert capsys.readouterr().out == f"lora_perf {lora_perf.__version__}\n"


def test_a_module_is_imported_before_the_rest_is_looked_at(tmp_path: Path) -> None:
    with pytest.raises(LoraPerfError, match=r"found FileNotFoundError: "):
        parsed(Settings, ["--nonsense", "--import", str(tmp_path / "none.py")], "example")


def test_a_module_without_a_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(Settings, ["here", "--import"], "example", positional=True)
    assert ended.value.code == 2
    assert "--import" in capsys.readouterr().err


def test_what_the_settings_refuse_passes() -> None:
    with pytest.raises(LoraPerfError, match="--runs of at least 1; found 0"):
        parsed(Settings, ["here", "--runs", "0"], "example", positional=True)
