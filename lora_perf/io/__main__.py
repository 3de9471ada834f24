"""`python -m lora_perf.io SOURCE TARGET`: packs any source into one file, which opens at once whatever its size."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_perf.command import terminal
from lora_perf.command.arguments import parsed
from lora_perf.command.status import exit_status
from lora_perf.core.text import counted
from lora_perf.io import pack, store


@dataclass(frozen=True)
class PackConfig:
    """Packs a collection of LoRA adapters into one safetensors file, in a stream: memory does not grow with the collection.

    Exit status: 0 done, 2 a wrong argument or a source that cannot be read, 130 interrupted.
    """

    source: str
    """Folder of adapter files, data set, Hub id or alias, packed file, or whatever a reader of your own knows."""
    target: Path
    """The file to write, as zoo.safetensors."""
    label_column: str | None = "category_label"
    """Column of the labels, in data sets and in the metadata of adapter files; None for a zoo without labels."""
    split: str | None = None
    """Part of a data set that has several: a name, several as a+b, or all; by default its own split is kept."""
    skip_bad: bool = False
    """Leave adapters out that cannot be used, with a warning each, instead of stopping at the first."""
    scheduler: str | None = None
    """Read and write on a Dask cluster: HOST:PORT of its scheduler, or local:N for N processes on this machine. All must see
    source and target under the same paths."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lora_perf.io") -> int:
    """Runs the command line; returns its exit status."""

    def work() -> int:
        with terminal.warnings_to_stderr():
            config = parsed(PackConfig, arguments, prog, positional=True)
            path = pack(
                config.source,
                config.target,
                label_column=config.label_column,
                split=config.split,
                skip_bad=config.skip_bad,
                scheduler=config.scheduler,
            )
        count, nbytes = counted(len(store.open_packed(path)), "adapter"), os.path.getsize(path)
        terminal.say(terminal.console(), f"packed: {path} ({count}, {nbytes:,} bytes)")
        return 0

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
