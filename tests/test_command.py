from __future__ import annotations

import pytest

from lora_perf.command import INTERRUPTED, USER_ERROR, exit_status
from lora_perf.errors import LoraPerfError


def fail(error: BaseException) -> int:
    raise error


def test_a_command_that_nothing_stops_tells_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: 1) == 1
    assert capsys.readouterr() == ("", "")


def test_a_mistake_of_the_user_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = LoraPerfError(expected="a zoo", found="nothing", fix="write one")
    assert exit_status(lambda: fail(error)) == USER_ERROR == 2
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_an_interruption_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(lambda: fail(KeyboardInterrupt()), lambda: "two cells are saved") == INTERRUPTED == 130
    assert capsys.readouterr() == ("", "interrupted; two cells are saved\n")


def test_a_fault_of_the_package_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_status(lambda: fail(ZeroDivisionError()))
