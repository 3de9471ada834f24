"""The pytest plugin: `pytest --pairs BASE` times the benchmarks of any suite, those of a commit and those of this tree in turn.

It stands beside the package, since pytest imports every plugin at its start: within the package it would import torch for
everybody. Where `--pairs` is not given, it costs an import of this file. Options, verdicts and limits: docs/pairs.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lora_perf.pairs.run import Run

_KEY = "lora_perf_pairs_run"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("pairs", "benchmarks of a commit and of this tree timed in turn")
    group.addoption("--pairs", metavar="BASE", help="time each test that uses the fixture benchmark against this commit")
    group.addoption("--pairs-seconds", type=float, default=4.0, metavar="S", help="most of a first measurement (4)")
    group.addoption("--pairs-threads", type=int, default=1, metavar="N", help="threads of each process, on as many cores (1)")
    group.addoption("--pairs-touched", action="store_true", help="only tests whose file or imports differ from BASE")
    group.addoption(
        "--pairs-floor", action="store_true", help="time BASE against itself: what this machine tells of the same code"
    )
    group.addoption(
        "--pairs-tests",
        choices=["own", "here"],
        default="own",
        help="own: each side runs its own tests; here: both run those of this tree, each over its own packages",
    )
    group.addoption(
        "--pairs-package",
        metavar="NAME",
        action="append",
        default=[],
        help="with --pairs-tests here: a package of each side; may be given again (all but the tests)",
    )
    group.addoption(
        "--pairs-gone",
        metavar="NAME",
        action="append",
        default=[],
        help="a test that BASE has and this tree has not, on purpose; may be given again",
    )
    group.addoption("--pairs-json", metavar="FILE", help="write what was found for programs")
    group.addoption("--pairs-markdown", metavar="FILE", help="write a summary for a pull request")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Takes workers of xdist out of the way before they start: two processes are timed in turn, and no other beside them."""
    if config.getoption("--pairs") is not None:
        for name, value in (("numprocesses", None), ("dist", "no"), ("tx", [])):
            if hasattr(config.option, name):
                setattr(config.option, name, value)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Compares instead of running, where a base is given."""
    config = session.config
    base = config.getoption("--pairs")
    if base is None or config.option.collectonly:
        return None
    from lora_perf.core.errors import LoraPerfError
    from lora_perf.pairs.run import Run

    if session.testsfailed and not config.option.continue_on_collection_errors:
        raise session.Interrupted(f"{session.testsfailed} errors during collection")
    try:
        run = Run(config, session.items, str(base))
        setattr(config, _KEY, run)
        session.testsfailed += run.compare()
    except LoraPerfError as error:
        raise pytest.UsageError(str(error)) from None
    session.testscollected = len(run.found) or 1  # where a change reaches none, all is well
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What needs a look, and the sentence."""
    run: Run | None = getattr(config, _KEY, None)
    if run is not None:
        terminalreporter.section("pairs")
        for line in run.summary():
            terminalreporter.write_line(line)
