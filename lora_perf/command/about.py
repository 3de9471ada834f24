"""What `lora-perf` says of itself, which needs nothing large: its version, its help, and that it has no such command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lora_perf.core.errors import LoraPerfError

SCRIPT = "lora-perf"
COMMANDS = {
    "run": "trains classifiers on representations of a collection: tables, figures, every number",
    "inspect": "reports what is in a collection and what is wrong with it",
    "diagnose": "times every way to read a data set, and says what to write instead",
    "audit": "shows what moves when the factors of the same updates are written anew",
    "pack": "writes a collection into one file, which opens at once",
}
_HELP = """usage: {prog} COMMAND ...

Learning on LoRA weights.

{commands}

{prog} COMMAND --help lists the flags of a command; --version shows the version.
"""


def needs_command(words: Sequence[str]) -> bool:
    """Whether a command line of `lora-perf` is one for its commands; `answer` knows the others.

    >>> needs_command(["run", "--quick"]), needs_command(["run", "--version"]), needs_command([])
    (True, False, False)
    """
    return bool(words) and words[0] in COMMANDS and list(words[1:2]) != ["--version"]


def answer(words: Sequence[str]) -> int:
    """Answers a command line that needs no command; returns the exit status."""
    if "--version" in words[:2]:
        print(version_line())
    elif not words or words[0] in ("--help", "-h"):
        print(_HELP.format(prog=program(), commands="\n".join(f"  {word:9}{told}" for word, told in COMMANDS.items())), end="")
    else:
        raise LoraPerfError(
            expected=f"a command ({', '.join(COMMANDS)})",
            found=repr(words[0]),
            fix=f"choose among these, or see {program()} --help",
        )
    return 0


def program() -> str:
    """How this process was started, as texts of help repeat it."""
    return SCRIPT if is_script(sys.argv[0]) else "python -m lora_perf"


def is_script(path: str) -> bool:
    """Whether a file is the console script.

    >>> is_script("/usr/local/bin/lora-perf"), is_script("lora-perf.py")
    (True, False)
    """
    return os.path.basename(path).removesuffix(".exe") == SCRIPT


def version_line() -> str:
    """The name of the package and its version."""
    import lora_perf

    return f"lora_perf {lora_perf.__version__}"
