"""`python -m lora_perf.audit DATASET`: do features and accuracies survive other factors of the same update?"""

from __future__ import annotations

import sys
from functools import partial

from lora_perf.audit import pages
from lora_perf.audit.config import AuditConfig
from lora_perf.audit.pages import write
from lora_perf.audit.study import audit
from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status
from lora_perf.command.terminal import say, warnings_to_stderr
from lora_perf.core.ambient import with_threads
from lora_perf.core.profiling import stage
from lora_perf.io import load
from lora_perf.io.atomic import check_writable
from lora_perf.profiling import traced


def main(arguments: list[str] | None = None, prog: str = "python -m lora_perf.audit") -> int:
    """Runs the command line; returns its exit status."""
    return exit_status(lambda: _run(arguments, prog))


def _run(arguments: list[str] | None, prog: str) -> int:
    console = terminal.console()
    with warnings_to_stderr():
        config = parsed(AuditConfig, arguments, prog, positional=True)
        tell = partial(say, console)
        with with_threads(config.threads), traced(config.trace, "audit", tell), terminal.progress(console) as progress:
            with stage("load"):
                zoo = load(config.dataset, label_column=config.label_column, skip_bad=config.skip_bad)
            check_writable(config.output_dir)
            found = audit(zoo, config, tell, progress)
        for table in pages.tables(found):
            terminal.show(console, table, **terminal.LIGHT)
        for line in pages.told(found):
            tell(line)
        files = write(found, config.output_dir)
        tell(f"written to {config.output_dir}: {', '.join(files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
