"""What the timed paths of a run leave for its last lines."""

from __future__ import annotations

import pytest

from benchmarks.closing import closing_table

_TIMES = pytest.StashKey[dict[str, dict[str, float]]]()


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> dict[str, dict[str, float]]:
    """Median seconds of the whole work, by workload and path, as they become known."""
    return request.config.stash.setdefault(_TIMES, {})


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table that closes a run in which something was timed."""
    lines = closing_table(config.stash.get(_TIMES, {}))
    if lines:
        terminalreporter.section(f"what lora_perf gains ({config.getoption('--scale')})")
        for line in lines:
            terminalreporter.write_line(line)
