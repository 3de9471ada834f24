"""`python -m lora_perf.audit DATASET`: do features and accuracies survive other factors of the same update?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from lora_perf.audit import pages
from lora_perf.audit.config import AuditConfig
from lora_perf.audit.figure import drawn
from lora_perf.audit.study import Audit, audit
from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status
from lora_perf.command.terminal import say, warnings_to_stderr
from lora_perf.experiment.runner import check_writable
from lora_perf.io import load, store
from lora_perf.report.canvas import remove_figures, write_figure


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns its exit status."""
    return exit_status(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int:
    console = terminal.console()
    with warnings_to_stderr():
        config = parsed(AuditConfig, arguments, "python -m lora_perf.audit", positional=True)
        zoo = load(config.dataset, label_column=config.label_column, skip_bad=config.skip_bad)
        check_writable(config.output_dir)
        with _progress(console) as progress:
            found = audit(zoo, config, lambda line: say(console, line), progress)
        for table in pages.tables(found):
            terminal.show(console, table, **terminal.LIGHT)
        for line in (*pages.warnings(found), pages.NOTE, pages.verdict(found)):
            say(console, line)
        files = _write(found, config.output_dir)
        say(console, f"written to {config.output_dir}: {', '.join(files)}")
    return 0


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of the pass on a terminal, nothing elsewhere."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("represent", total=None, visible=False)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=done < total)

        yield advance


def _write(found: Audit, folder: Path) -> list[str]:
    """Writes page and numbers, both or neither, then the figure, which the page shows once it is there; returns the names."""
    numbers = json.dumps(found.to_json(), indent=1, allow_nan=False).encode()
    _replace(folder, {"audit.md": pages.markdown(found, figure=False).encode(), "audit.json": numbers})
    remove_figures([folder / "audit.svg"])
    figure = write_figure(lambda: drawn(found), folder / "audit", ["svg"])
    if figure:
        _replace(folder, {"audit.md": pages.markdown(found).encode()})
    return ["audit.md", "audit.json", *figure]


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    with ExitStack() as stack:
        for name, content in files.items():
            stack.enter_context(store.replacing(folder / name)).write(content)


if __name__ == "__main__":
    sys.exit(main())
