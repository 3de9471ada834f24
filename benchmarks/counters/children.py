"""What a Python process imports that a workload starts with `subprocess.run([sys.executable, ..., "-c", code])`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Runs around the code. Modules that the interpreter imports before it (site, path hooks) are the machine's, not the code's.
# So are those of the libraries that the package may import, and its own modules, which any move of code changes: what is
# left is its own doing.
_PROGRAM = """
import sys
import numpy, safetensors.torch, torch, xxhash
_before = set(sys.modules)
exec({code!r})
with open({report!r}, "a") as _file:
    _file.write("\\n".join(sorted({{*sys.modules}} - _before)) + "\\n")
"""


@contextmanager
def watched() -> Iterator[dict[str, int]]:
    """Counts, in what it yields, the imports of child processes."""
    found = {"child_modules": 0}
    run = subprocess.run
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"

        def run_watched(command: Any, *args: Any, **kwargs: Any) -> Any:
            if command[0] == sys.executable and "-c" in command:
                place = command.index("-c") + 1
                program = _PROGRAM.format(code=command[place], report=str(report))
                command = [*command[:place], program, *command[place + 1 :]]
            return run(command, *args, **kwargs)

        report.touch()
        subprocess.run = run_watched  # type: ignore[assignment]
        try:
            yield found
        finally:
            subprocess.run = run
        names = report.read_text().splitlines()
        found["child_modules"] = sum(name.partition(".")[0] not in ("", "lora_perf") for name in names)
