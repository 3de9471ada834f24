"""`lora-perf COMMAND`: the commands of the package under one name; `python -m lora_perf COMMAND` is the same."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lora_perf.command.about import answer, needs_command, program
from lora_perf.command.status import exit_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the first word names with the words after it; returns its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not needs_command(words):
        return exit_status(lambda: answer(words))
    return _started(words[0], words[1:], f"{program()} {words[0]}")


def _started(word: str, arguments: list[str], prog: str) -> int:
    """Imports one command, and no other, and runs it."""
    if word == "run":
        from lora_perf.experiment.__main__ import main as command
    elif word == "inspect":
        from lora_perf.inspect.__main__ import main as command
    elif word == "diagnose":
        from lora_perf.diagnose.__main__ import main as command
    elif word == "audit":
        from lora_perf.audit.__main__ import main as command
    else:
        from lora_perf.io.__main__ import main as command
    return command(arguments, prog)


if __name__ == "__main__":
    sys.exit(main())
